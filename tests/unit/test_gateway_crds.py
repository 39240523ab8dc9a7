"""Our Gateway API objects and Envoy Gateway policies against the definitions that Envoy Gateway ships, and the totals
of AIBrix' release against what is planned.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from components.rendered import objects
from stacks.catalog.gateways import load_gateways
from tests.support import crd_schemas
from tests.support.gateways import STACK, VARIANTS, WITH_AIBRIX, variant

pytestmark = pytest.mark.skipif(crd_schemas.MISSING, reason="no upstream definitions; LAB_UPSTREAM names their folder")
GROUPS = ("gateway.networking.k8s.io/", "gateway.envoyproxy.io/")
KINDS = {
    "BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyExtensionPolicy", "EnvoyPatchPolicy", "EnvoyProxy", "Gateway",
    "GatewayClass", "HTTPRoute", "HTTPRouteFilter", "SecurityPolicy",
}  # fmt: skip


def ours(name: str) -> list[dict[str, Any]]:
    made = objects(variant(name)).values()
    return [thing for thing in made if thing["apiVersion"].startswith(GROUPS)]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_of_ours_is_one_that_its_definition_takes(name: str) -> None:
    made = ours(name)
    assert {thing["kind"] for thing in made} == KINDS - ({"EnvoyExtensionPolicy"} if name not in WITH_AIBRIX else set())
    found = {f"{thing['kind']} {thing['metadata']['name']}": crd_schemas.faults(thing) for thing in made}
    assert {name: faults for name, faults in found.items() if faults} == {}


def _unknown(spec: dict[str, Any]) -> None:
    spec["headers"]["earlyRequestHeader"] = {}


def _misspelt(spec: dict[str, Any]) -> None:
    spec["path"]["escapedSlashesAction"] = "Reject"


def _missing(spec: dict[str, Any]) -> None:
    spec["targetRefs"][0].pop("kind")


def _of_another_type(spec: dict[str, Any]) -> None:
    spec["connection"]["connectionLimit"]["value"] = "1024"


@pytest.mark.parametrize("spoil", [_unknown, _misspelt, _missing, _of_another_type])
def test_what_is_wrong_in_an_object_is_seen(spoil: Any) -> None:
    (policy,) = [copy.deepcopy(thing) for thing in ours(STACK) if thing["kind"] == "ClientTrafficPolicy"]
    assert crd_schemas.faults(policy) == []
    spoil(policy["spec"])
    assert len(crd_schemas.faults(policy)) == 1


def _millis(text: Any) -> int:
    return int(str(text)[:-1]) if str(text).endswith("m") else 1000 * int(text)


def _mib(text: str) -> int:
    return int(text[:-2]) * {"Mi": 1, "Gi": 1024}[text[-2:]]


@pytest.mark.parametrize("version", load_gateways().aibrix)
def test_the_totals_of_upstreams_release_are_its_manifests_sums(version: str) -> None:
    entry = load_gateways().aibrix[version]
    cpu = memory = 0
    for document in crd_schemas.documents(f"aibrix-{entry.release.value}-core.yaml"):
        pod: dict[str, Any] = {}
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
        elif document["kind"] == "EnvoyProxy":
            patch = document["spec"]["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]
            pod = patch["spec"]["template"]["spec"]
        for container in pod.get("containers", []):
            asked = container.get("resources", {}).get("requests", {})
            cpu += _millis(asked.get("cpu", 0))
            memory += _mib(asked.get("memory", "0Mi"))
    assert (cpu, memory) == (entry.upstream_cpu_millis.value, entry.upstream_memory_mib.value)
    own = variant("0.5" if version == "0.5" else STACK).gateway
    assert own
    requested = sum(part.memory_request_mib for part in own.parts)
    print(
        f"\nAIBrix {version}: {own.cpu_millis}m and {requested} MiB requested here with "
        f"Envoy Gateway, {cpu}m and {memory} MiB by upstream's release without it"
    )
    assert own.cpu_millis < cpu / 10
    assert requested < memory / 10
