"""Objects of a gateway of kind aibrix against a real API server with Envoy Gateway's own definitions: CEL rules,
defaults and unknown fields too. Namespaces and definitions are made, the rest is a dry run on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from components.rendered import objects
from tests.e2e.conftest import Cluster
from tests.support import crd_schemas
from tests.support.gateways import VARIANTS, variant

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(crd_schemas.MISSING, reason="no upstream definitions; LAB_UPSTREAM names their folder"),
]
REAL = ("Namespace", "CustomResourceDefinition")


@pytest.fixture
def cluster(clusters: tuple[Cluster, Cluster]) -> Iterator[Cluster]:
    """A cluster that knows what Envoy Gateway and Gateway API define."""
    made = clusters[0]
    made.host("ensure")
    for file in (crd_schemas.GATEWAY_API, crd_schemas.ENVOY_GATEWAY):
        made.kubectl("apply", "--server-side", "-f", str(crd_schemas.FOLDER / file))
    made.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    yield made


def test_the_api_server_takes_every_object_and_refuses_what_is_wrong_in_one(cluster: Cluster) -> None:
    seen = set()
    for name in VARIANTS:
        made = list(objects(variant(name)).values())
        apply(cluster, [thing for thing in made if thing["kind"] in REAL])
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        said = apply(cluster, [thing for thing in made if thing["kind"] not in REAL], "--dry-run=server")
        assert said.count("serverside-applied (server dry run)") == sum(thing["kind"] not in REAL for thing in made)
        seen |= {thing["kind"] for thing in made}
    assert seen >= {"EnvoyPatchPolicy", "EnvoyProxy", "HTTPRoute", "SecurityPolicy", "ClusterRole", "Deployment"}
    (policy,) = [thing for thing in made if thing["kind"] == "SecurityPolicy"]
    foreign = [{"group": "apps", "kind": "Deployment", "name": "gateway"}]  # a CEL rule: no kind of the Gateway API
    for wrong in ({"apiKey": {}}, {"targetRefs": foreign}):
        changed = {**policy, "spec": {**policy["spec"], **wrong}}
        assert "dry run" not in apply(cluster, [changed], "--dry-run=server", check=False)


def apply(cluster: Cluster, made: list[dict[str, Any]], *words: str, check: bool = True) -> str:
    text = yaml.safe_dump_all(made)
    return cluster.kubectl("apply", "--server-side", "--validate=strict", *words, "-f", "-", text=text, check=check)
