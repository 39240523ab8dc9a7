"""Tokens of an identity provider at the gateway: what follows from the settings, and where they cannot work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from stacks.plan import TargetPlan
from stacks.plan.cluster import EmbeddedPlan
from stacks.plan.gateway_oidc import OidcPlan
from stacks.planning.draft import Notes
from stacks.settings.gateway_oidc import Oidc

_MEMBERS: Final = ("kty", "kid", "alg", "use", "crv", "x", "y", "n", "e")
"""What Envoy reads of a JSON Web Key of RSA or EC."""


def plan_oidc(asked: Oidc | None, cluster: TargetPlan, notes: Notes) -> OidcPlan | None:
    """The slice; None where clients have keys only. Refuses keys from a place that the gateway cannot reach."""
    if asked is None:
        return None
    if asked.jwks_uri and isinstance(cluster, EmbeddedPlan):
        notes.refuse(
            "gateway.oidc.jwksUri on embedded: this cluster has no DNS, so that its gateway finds no other machine. "
            "Write gateway.oidc.jwks: with what that address answers"
        )
    notes.decide(
        "gateway.oidc", asked.issuer, "stated", "stack file",
        f"its tokens for {', '.join(asked.audiences)} are taken instead of a key; the client is the claim "
        f"{asked.client_claim}",
    )  # fmt: skip
    if asked.jwks_uri:
        reason = "fetched over TLS; the gateway may connect to the outside for it, and nothing else of the stack may"
        notes.decide("gateway.oidc.keys", asked.jwks_uri, "stated", "stack file", reason)
    if asked.jwks:
        reason = "a key that the provider changes has to be written into the stack file before its tokens are taken"
        notes.decide("gateway.oidc.keys", len(asked.jwks.keys), "stated", "stack file", reason)
    return OidcPlan(
        issuer=asked.issuer,
        audiences=asked.audiences,
        client_claim=asked.client_claim,
        jwks_uri=asked.jwks_uri,
        jwks=json.dumps({"keys": [_key(key) for key in asked.jwks.keys if key.get("use") != "enc"]})
        if asked.jwks
        else None,
        ca=asked.ca,
    )


def _key(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in _MEMBERS if name in found}
