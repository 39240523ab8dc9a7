"""What `up` would do where a stack runs already, from two plans."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from cli.effects import IMMUTABLE, Effect, _op, effects
from components import rendered
from tests.support.stacks import (
    BEHIND_A_GATEWAY,
    BY_ENVOY_GATEWAY,
    IN_A_NAMESPACE,
    IN_DOCKER,
    ON_KUBERNETES,
    ON_PORTS,
    WITH_A_PLUGIN,
    configuration,
    deployments,
    plan,
    roomy,
)

Edit = Callable[[dict[str, Any]], Any]


def _another(own: dict[str, Any]) -> None:
    roomy(own)
    own["models"].append({**copy.deepcopy(own["models"][0]), "name": "second", "replicas": 1, "port": 30090})


def _key(own: dict[str, Any]) -> None:
    own["apiKey"] = "sk-canary-1234567890"


def _what(before: Edit | None, after: Edit | None, stack: str) -> dict[str, str]:
    """`kind name` -> operation and note of what changes."""
    found = effects(plan(stack, before), plan(stack, after))
    return {f"{e.kind} {e.name}": f"{e.op}: {e.note}".removesuffix(": ") for e in found if e.op != "same"}


def _deployments(stack: str, models: int | None = None) -> list[str]:
    return [f"Deployment {name}" for name in deployments(plan(stack), models)]


every_stack = pytest.mark.parametrize("stack", ON_KUBERNETES)
on_ports = pytest.mark.parametrize("stack", ON_PORTS)
_CHECK = {"Command inference-check-run": "replace: `python -m probes inference_check` runs on the machine"}
_WAIT = {"Command allocatable-gpus-run": "update: `python -m probes allocatable_gpus` runs on the machine"}
RESTART = "update: its pods are restarted"


def _looks(stack: str) -> dict[str, str]:
    """What looks again at every other plan: the check, and before it the wait for GPUs where there is one."""
    return _CHECK | {name: ran for name, ran in _WAIT.items() if name.split()[1] in rendered.commands(plan(stack))}


@every_stack
def test_the_same_plan_changes_nothing(stack: str) -> None:
    found = effects(plan(stack), plan(stack))
    assert {e.op for e in found} == {"same"}
    assert {(e.kind, e.name) for e in found} > set(rendered.objects(plan(stack)))
    assert not any(e.note for e in found)


@every_stack
def test_a_shorter_context_restarts_that_models_pods(stack: str) -> None:
    changes = _what(None, lambda own: own["models"][0].update(contextTokens=512), stack)
    limits = {"BackendTrafficPolicy gateway-limits": "update"} if stack in WITH_A_PLUGIN else {}
    assert changes == {**dict.fromkeys(_deployments(stack, 1), RESTART), **limits, **_looks(stack)}


@on_ports
def test_another_port_restarts_no_pod(stack: str) -> None:
    name = plan(stack).models[0].name
    changes = _what(None, lambda own: own["models"][0].update(port=30085), stack)
    assert changes == {**({} if stack in IN_A_NAMESPACE else {f"Service {name}-endpoint": "update"}), **_looks(stack)}


@every_stack
def test_more_replicas_restart_no_pod(stack: str) -> None:
    def two(own: dict[str, Any]) -> None:
        roomy(own)
        own["models"][0]["replicas"] = own["models"][0].get("replicas", 1) + 1

    made = plan(stack)
    name, replicas = made.models[0].name, made.models[0].replicas
    one_more = f"Deployment {name}-engine-{replicas}"
    change = {one_more: "create"} if made.shared_cards else {f"Deployment {name}": "update"}
    assert _what(roomy, two, stack) == {**change, **_asked_for_room(stack), **_looks(stack)}


def _asked_for_room(stack: str) -> dict[str, str]:
    """Somebody else's cluster is asked whether it has room for what is added."""
    ran = "update: `python -m host existing ensure` runs on the machine"
    return {"Command cluster-ensure": ran} if stack in IN_A_NAMESPACE else {}


@pytest.mark.parametrize("stack", IN_A_NAMESPACE)
def test_another_storage_class_replaces_the_claim_and_says_that_weights_go(stack: str) -> None:
    changes = _what(None, lambda own: own["cluster"].update(storage={"class": "fast", "sizeGiB": 100}), stack)
    assert changes == {
        "PersistentVolumeClaim model-cache-claim": "replace: the weights in it go with it, and are fetched again",
        **{f"Deployment {model.name}": RESTART for model in plan(stack).models},
        **_asked_for_room(stack),
        **_looks(stack),
    }


@pytest.mark.parametrize("stack", [s for s in ON_KUBERNETES if s not in IN_A_NAMESPACE])
def test_another_cache_folder_replaces_the_volume_and_its_claim_and_says_that_weights_stay(stack: str) -> None:
    made = plan(stack)
    ran = "update: `python -m host models ensure` runs on the machine"
    changes = _what(None, lambda own: own.update(modelCache={"path": "/srv/models"}), stack)
    if made.cluster.driver == "minikube":  # the folder is mounted into its node
        assert changes.pop("Command cluster-ensure") == "update: `python -m host minikube ensure` runs on the machine"
    assert changes == {
        "PersistentVolume model-cache-volume": "replace: the folder and the weights in it stay",
        "PersistentVolumeClaim model-cache-claim": "replace",
        **dict.fromkeys(_deployments(stack), RESTART),
        **{f"Command {model.name}-weights": ran for model in made.models},
        **_looks(stack),
    }


@on_ports
def test_a_key_comes_with_its_secret_and_new_pods_and_goes_alike(stack: str) -> None:
    restarted = dict.fromkeys(_deployments(stack), RESTART)
    assert _what(None, _key, stack) == {"Secret models-api-key": "create", **restarted, **_looks(stack)}
    assert _what(_key, None, stack) == {"Secret models-api-key": "delete", **restarted, **_looks(stack)}


@every_stack
def test_a_model_comes_and_goes_with_all_that_is_its_own(stack: str) -> None:
    kinds = (
        "ServiceAccount second-account",
        "NetworkPolicy second-network",
        "PodDisruptionBudget second-disruption",
        "Deployment second",
        "Service second-service",
        *(("Service second-endpoint",) if stack in ON_PORTS and stack not in IN_A_NAMESPACE else ()),
        *(BEHIND if stack in BY_ENVOY_GATEWAY else ()),
    )
    came, went = _what(roomy, _another, stack), _what(_another, roomy, stack)
    fetched = {"Command second-weights": "create: `python -m host models ensure` runs on the machine"}
    kept = {"Command second-weights": "delete: the weights stay in the cache"}
    if stack in IN_A_NAMESPACE:
        fetched = kept = _asked_for_room(stack)
    listed = ["HTTPRouteFilter gateway-listing-filter"]
    listed += ["EnvoyExtensionPolicy gateway-routing"] if stack in WITH_A_PLUGIN else []
    routed = dict.fromkeys(listed, "update") if stack in BY_ENVOY_GATEWAY else {}
    if stack in set(BEHIND_A_GATEWAY) - set(BY_ENVOY_GATEWAY):  # its routes are one file, read at its start
        routed = {"ConfigMap gateway-configuration": "update", "Deployment gateway": RESTART}
    rest = {**routed, **_looks(stack)}
    assert came == {**dict.fromkeys(kinds, "create"), **fetched, **rest}
    assert went == {**dict.fromkeys(kinds, "delete"), **kept, **rest}
    gone = [e for e in effects(plan(stack, _another), plan(stack, roomy)) if e.op == "delete" and e.kind != "Command"]
    last = "second-service" if stack in IN_A_NAMESPACE or stack in BEHIND_A_GATEWAY else "second-endpoint"
    assert gone[0] == Effect("delete", last, "Service")  # what came last goes first


BEHIND = (
    "HTTPRoute second-route",
    "HTTPRouteFilter gateway-listing-second-filter",
    "HTTPRouteFilter gateway-about-second-filter",
)
"""What a gateway of Envoy Gateway has of each model."""


@pytest.mark.parametrize(
    ("kind", "path", "op"),
    [
        ("Deployment", ("spec", "selector"), "replace"),
        ("Deployment", ("spec", "template"), "update"),
        ("PersistentVolume", ("spec", "local"), "replace"),
        ("PersistentVolume", ("spec", "capacity"), "update"),
        ("PersistentVolumeClaim", ("spec", "volumeName"), "replace"),
        ("StorageClass", ("provisioner",), "replace"),
        ("Service", ("spec", "ports"), "update"),
        ("Namespace", ("metadata", "labels"), "update"),
        ("Namespace", ("metadata", "name"), "replace"),
        ("NetworkPolicy", ("metadata", "namespace"), "replace"),
    ],
)
def test_a_field_that_cannot_change_in_place_replaces_its_object(kind: str, path: tuple[str, ...], op: str) -> None:
    old = next(thing for name, thing in rendered.objects(plan(ON_KUBERNETES[0])).items() if name.kind == kind)
    new = copy.deepcopy(old)
    inner = new
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = {"another": "value"}
    assert _op(kind, old, new) == op


def test_the_table_knows_every_kind_of_object() -> None:
    def nearly_all(own: dict[str, Any]) -> None:
        _another(own)
        if "gateway" not in own:
            _key(own)
        if own["cluster"]["driver"] == "minikube":
            own.setdefault("gpu", {})["runtimeClass"] = "nvidia"

    kinds = {name.kind for stack in ON_KUBERNETES for name in rendered.objects(plan(stack, nearly_all))}
    assert kinds | {"Release"} == set(IMMUTABLE)
    assert {configuration(stack)["machine"]["kind"] for stack in ON_KUBERNETES} == {"cpu", "nvidia"}


@pytest.mark.parametrize("stack", IN_DOCKER)
def test_in_docker_every_change_of_a_model_is_one_of_the_compose_file(stack: str) -> None:
    def shorter(own: dict[str, Any]) -> None:
        own["models"][0]["contextTokens"] //= 2

    found = {e.name: (e.op, e.note) for e in effects(plan(stack), plan(stack, shorter)) if e.op != "same"}
    assert found["containers-ensure"] == ("update", "`python -m host docker ensure` runs on the machine")
    assert set(found) == {"containers-ensure", "inference-check-run"}
