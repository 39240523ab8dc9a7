"""DNS and definitions of an embedded cluster: made once, finished after a kill, left alone when they are there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from host.artifacts.images import static
from host.drivers.embedded import addons, api
from host.drivers.embedded.layout import Layout
from stacks.catalog import load
from tests.host.test_embedded_configs import plan

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gateways.gateway.networking.k8s.io"},
    "spec": {
        "group": "gateway.networking.k8s.io",
        "names": {"plural": "gateways"},
        "versions": [{"name": "v1", "served": True}, {"name": "v1alpha2", "served": False}],
    },
}
GUARD = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingAdmissionPolicy",
    "metadata": {"name": "g"},
}


class Server:
    """Keeps what is applied by its path, serves what is defined, and calls every Deployment ready."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, Any]] = {}
        self.applied: list[str] = []
        self.dies_at = 0

    def apply(self, _: Layout, path: str, document: dict[str, Any]) -> None:
        if self.dies_at and len(self.applied) + 1 >= self.dies_at:
            raise KeyboardInterrupt
        self.applied.append(f"{document['kind']} {document['metadata']['name']}")
        ready = (
            {"status": {"observedGeneration": 1, "availableReplicas": 1}} if document["kind"] == "Deployment" else {}
        )
        self.things[f"{path}/{document['metadata']['name']}"] = {**document, **ready}

    def request(self, _: Layout, method: str, path: str, **options: Any) -> Any:
        assert method == "GET"
        served = [t["spec"] for t in self.things.values() if t["kind"] == "CustomResourceDefinition"]
        here = [s for s in served if f"/apis/{s['group']}/v1" == path]
        if here:
            return {"resources": [{"name": s["names"]["plural"]} for s in here]}
        if path not in self.things:
            raise api.ApiError("not found", 404)
        return self.things[path]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(addons.api, "apply", made.apply)
    monkeypatch.setattr(addons.api, "request", made.request)
    text = "---\n" + yaml.safe_dump_all([DEFINITION, GUARD])
    monkeypatch.setattr(addons.static, "definitions", lambda cache: [text])
    return made


def layout() -> Layout:
    image = static.COREDNS.reference
    return Layout("lab", plan(addons=("dns", "gateway-definitions"), images=(image,)))


def test_what_is_there_is_left_alone(server: Server) -> None:
    first = addons.ensure(layout())
    assert first[-1] == "applied definitions of 1 kinds"
    assert "applied Deployment coredns" in first
    before = len(server.applied)
    assert addons.ensure(layout()) == []
    assert len(server.applied) == before


def test_a_run_killed_anywhere_is_finished_by_the_next(server: Server) -> None:
    addons.ensure(layout())
    whole, points = dict(server.things), len(server.applied)
    assert points == 8  # six of DNS, a definition, and the note of it
    for point in range(1, points + 1):
        server.things, server.applied, server.dies_at = {}, [], point
        with pytest.raises(KeyboardInterrupt):
            addons.ensure(layout())
        server.applied, server.dies_at = [], 0
        assert addons.ensure(layout())
        assert server.things == whole


def test_only_definitions_are_taken_of_what_the_chart_has(server: Server) -> None:
    addons.ensure(layout())
    assert not [name for name in server.applied if "ValidatingAdmissionPolicy" in name]


def test_a_changed_object_and_a_definition_that_somebody_removed_come_back(server: Server) -> None:
    addons.ensure(layout())
    service = next(path for path in server.things if path.endswith("/services/kube-dns"))
    assert server.things[service]["spec"]["clusterIP"] == layout().dns_service
    server.things[service] = {**server.things[service], "metadata": {"name": "kube-dns"}}
    server.things = {path: thing for path, thing in server.things.items() if thing["kind"] != DEFINITION["kind"]}
    assert addons.ensure(layout()) == ["applied Service kube-dns", "applied definitions of 1 kinds"]


def test_dns_is_closed_as_its_image_allows(server: Server) -> None:
    addons.ensure(layout())
    (deployment,) = [thing for thing in server.things.values() if thing["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    assert container["image"] == static.COREDNS.reference
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    (role,) = [thing for thing in server.things.values() if thing["kind"] == "ClusterRole"]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}


def test_without_addons_nothing_is_asked(server: Server) -> None:
    assert addons.ensure(Layout("lab", plan())) == []
    assert server.applied == []


def test_the_catalogue_names_the_images_that_this_release_makes() -> None:
    images = load().images
    assert images["envoy-gateway-embedded"].reference == static.ENVOY_GATEWAY.reference
    assert images["coredns-embedded"].reference == static.COREDNS.reference
