"""What `up` would do where a stack runs already, from two plans."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from cli.effects import IMMUTABLE, Effect, _op, effects
from components import rendered
from tests.support.stacks import STACKS, configuration, plan

Edit = Callable[[dict[str, Any]], Any]


def _roomy(own: dict[str, Any]) -> None:
    own["machine"] |= {"cpus": 16, "memoryGiB": 64}
    if own["machine"]["kind"] == "nvidia":
        own["machine"] |= {"gpus": 2, "platform": "linux"}
        own["machine"].pop("wslMemoryGiB", None)


def _another(own: dict[str, Any]) -> None:
    _roomy(own)
    own["models"].append({**copy.deepcopy(own["models"][0]), "name": "second", "port": 30081})


def _key(own: dict[str, Any]) -> None:
    own["apiKey"] = "sk-canary-1234567890"


def _what(before: Edit | None, after: Edit | None, stack: str) -> dict[str, str]:
    """`kind name` -> operation and note of what changes."""
    found = effects(plan(stack, before), plan(stack, after))
    return {f"{e.kind} {e.name}": f"{e.op}: {e.note}".removesuffix(": ") for e in found if e.op != "same"}


every_stack = pytest.mark.parametrize("stack", STACKS)
CHECK = {"Command inference-check-run": "replace: `python -m probes inference_check` runs on the machine"}
RESTART = "update: its pods are restarted"


@every_stack
def test_the_same_plan_changes_nothing(stack: str) -> None:
    found = effects(plan(stack), plan(stack))
    assert {e.op for e in found} == {"same"}
    assert {(e.kind, e.name) for e in found} > set(rendered.objects(plan(stack)))
    assert not any(e.note for e in found)


@every_stack
def test_a_shorter_context_restarts_that_models_pods(stack: str) -> None:
    name = plan(stack).models[0].name
    changes = _what(None, lambda own: own["models"][0].update(contextTokens=1024), stack)
    assert changes == {f"Deployment {name}": RESTART, **CHECK}


@every_stack
def test_another_port_restarts_no_pod(stack: str) -> None:
    name = plan(stack).models[0].name
    changes = _what(None, lambda own: own["models"][0].update(port=30085), stack)
    assert changes == {f"Service {name}-endpoint": "update", **CHECK}


@every_stack
def test_more_replicas_restart_no_pod(stack: str) -> None:
    def two(own: dict[str, Any]) -> None:
        _roomy(own)
        own["models"][0]["replicas"] = 2

    assert _what(_roomy, two, stack) == {f"Deployment {plan(stack).models[0].name}": "update", **CHECK}


@every_stack
def test_another_cache_folder_replaces_the_volume_and_its_claim_and_says_that_weights_stay(stack: str) -> None:
    made = plan(stack)
    name = made.models[0].name
    changes = _what(None, lambda own: own.update(modelCache={"path": "/srv/models"}), stack)
    if made.cluster.driver == "minikube":  # the folder is mounted into its node
        assert changes.pop("Command cluster-ensure") == "update: `python -m host minikube ensure` runs on the machine"
    assert changes == {
        "PersistentVolume model-cache-volume": "replace: the folder and the weights in it stay",
        "PersistentVolumeClaim model-cache-claim": "replace",
        f"Deployment {name}": RESTART,
        f"Command {name}-weights": "update: `python -m host models ensure` runs on the machine",
        **CHECK,
    }


@every_stack
def test_a_key_comes_with_its_secret_and_new_pods_and_goes_alike(stack: str) -> None:
    deployment = {f"Deployment {plan(stack).models[0].name}": RESTART}
    assert _what(None, _key, stack) == {"Secret models-api-key": "create", **deployment, **CHECK}
    assert _what(_key, None, stack) == {"Secret models-api-key": "delete", **deployment, **CHECK}


@every_stack
def test_a_model_comes_and_goes_with_all_that_is_its_own(stack: str) -> None:
    kinds = (
        "ServiceAccount second-account",
        "NetworkPolicy second-network",
        "PodDisruptionBudget second-disruption",
        "Deployment second",
        "Service second-service",
        "Service second-endpoint",
    )
    came, went = _what(_roomy, _another, stack), _what(_another, _roomy, stack)
    assert came == {
        **dict.fromkeys(kinds, "create"),
        "Command second-weights": "create: `python -m host models ensure` runs on the machine",
        **CHECK,
    }
    kept = {"Command second-weights": "delete: the weights stay in the cache"}
    assert went == {**dict.fromkeys(kinds, "delete"), **kept, **CHECK}
    gone = [e for e in effects(plan(stack, _another), plan(stack, _roomy)) if e.op == "delete" and e.kind != "Command"]
    assert gone[0] == Effect("delete", "second-endpoint", "Service")  # what came last goes first


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
    old = next(thing for name, thing in rendered.objects(plan(STACKS[0])).items() if name.kind == kind)
    new = copy.deepcopy(old)
    inner = new
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = {"another": "value"}
    assert _op(kind, old, new) == op


def test_the_table_knows_every_kind_of_object() -> None:
    def nearly_all(own: dict[str, Any]) -> None:
        _another(own)
        _key(own)

    assert {name.kind for stack in STACKS for name in rendered.objects(plan(stack, nearly_all))} == set(IMMUTABLE)
    assert {configuration(stack)["machine"]["kind"] for stack in STACKS} == {"cpu", "nvidia"}
