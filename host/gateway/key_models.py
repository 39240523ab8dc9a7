"""Which models each client may ask: a file beside the keys, in the form that Envoy reads, and reads again when it is
replaced. A client that does not stand in it may ask none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from stacks import names

MODELS_FILE: Final = names.GATEWAY_MODELS_FILE
_FILTER: Final = names.GATEWAY_MODELS_FILTER
_KIND: Final = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_ALL: Final = "all models"  # no client's name: it has a blank


def document(found: Mapping[str, tuple[str, ...]]) -> str:
    """What Envoy's file source reads: the filter's whole configuration, as one resource. `found` are clients and their
    models; an empty list of them means all.
    """
    free = [_named({"exact": client}) for client, models in sorted(found.items()) if not models]
    # tokens of an identity provider are for all models; no key's client can have such a name
    free.append(_named({"prefix": names.TOKEN_CLIENT_PREFIX}))
    policies: dict[str, Any] = {_ALL: {"permissions": [{"any": True}], "principals": free}}
    for client, models in sorted(found.items()):
        if models:
            leads = [_leads({"string_match": {"exact": model}}) for model in models]
            answered_here = {"not_rule": _leads({"present_match": True})}
            policies[client] = {
                "permissions": [*leads, answered_here],
                "principals": [_named({"exact": client})],
            }
    config = {"@type": _KIND, "rules": {"action": "ALLOW", "policies": policies}}
    extension = {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": _FILTER}
    version = hashlib.sha256(json.dumps(policies).encode()).hexdigest()[:12]
    return json.dumps({"version_info": version, "resources": [{**extension, "typed_config": config}]}, indent=1)


def read(text: str) -> dict[str, tuple[str, ...]]:
    """The clients that may ask some models only, and which; raises ValueError, KeyError or TypeError for another
    document.
    """
    (resource,) = json.loads(text)["resources"]
    found = {}
    for client, policy in resource["typed_config"]["rules"]["policies"].items():
        if client != _ALL:
            leads = [one["sourced_metadata"] for one in policy["permissions"] if "sourced_metadata" in one]
            found[client] = tuple(one["metadata_matcher"]["value"]["string_match"]["exact"] for one in leads)
    return found


def _named(match: dict[str, Any]) -> dict[str, Any]:
    return {"header": {"name": names.CLIENT_HEADER, "string_match": match}}


def _leads(value: dict[str, Any]) -> dict[str, Any]:
    """A request whose route leads to an engine, by the model's name that stands at the route itself."""
    matcher = {"filter": names.GATEWAY_ROUTE_METADATA, "path": [{"key": "model"}], "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher, "metadata_source": "ROUTE"}}
