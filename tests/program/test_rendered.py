"""What is made from the plan alone is what the program declares: for every stack, and for every kind of object."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from components.rendered import WITHHELD, Name, commands, objects, releases
from host.drivers import ownership
from tests.support.registrations import SECRET
from tests.support.stacks import (
    IN_DOCKER,
    ON_KUBERNETES,
    ROOT,
    STACKS,
    WITH_A_PLUGIN,
    configuration,
    plan,
    preview,
    roomy,
)

FROM_THE_MACHINE = {"LAB_EPOCH"}  # what the bootstrap is told beside the plan
Edit = Callable[[dict[str, Any]], Any]


def _with_secrets(own: dict[str, Any]) -> None:
    own["huggingFaceToken"] = "hf_canary1234567890"
    if "gateway" not in own:  # whose clients have keys of their own
        own["apiKey"] = "sk-canary-1234567890"


def _two_models(own: dict[str, Any]) -> None:
    roomy(own)
    own["models"][0]["name"] = "models"  # as other resources are called too
    own["models"].append({**copy.deepcopy(own["models"][0]), "name": "models-service", "replicas": 1, "port": 30090})


def _all(own: dict[str, Any]) -> None:
    _two_models(own)
    _with_secrets(own)
    own["models"][0]["environment"] = {"VLLM_LOGGING_LEVEL": "DEBUG"}
    if own["machine"]["kind"] == "nvidia" and "gateway" not in own:  # kind aibrix leads to no adapter
        adapter = {"name": "service", "repository": "owner/adapter", "revision": "a" * 40}
        own["models"][0]["lora"] = {"adapters": 1, "rank": 8, "modules": [adapter]}
    if own["cluster"]["driver"] == "existing":
        own["cluster"]["storage"] = {"class": "fast", "sizeGiB": 500}
    else:
        own["modelCache"] = {"path": "/srv/models"}


def _gateway(own: dict[str, Any]) -> None:
    _two_models(own)
    if own["cluster"]["driver"] != "existing" and "gateway" not in own:  # which has none yet, or which has another
        aliases = [{"name": "chat", "models": [{"model": model["name"]} for model in own["models"]]}]
        own["gateway"] = {"kind": "envoy", "aliases": aliases, "affinity": {"by": "header", "name": "x-session-id"}}


EDITS: dict[str, Edit | None] = {
    "as shipped": None,
    "with secrets": _with_secrets,
    "two models": _two_models,
    "all at once": _all,
    "behind a gateway": _gateway,
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("stack", ON_KUBERNETES)
def test_the_objects_are_those_that_the_program_registers(stack: str, edit: str) -> None:
    ours = objects(plan(stack, EDITS[edit]), owner=ownership.checkout(stack))
    registered = [s for s in preview(stack, EDITS[edit]).steps if s.type.startswith("kubernetes:")]
    charts = [s for s in registered if s.type == "kubernetes:helm.sh/v3:Release"]
    by_the_sdk = {"compat": "true"}
    wanted = {name: {**told, **by_the_sdk} for name, told in releases(plan(stack, EDITS[edit])).items()}
    assert {s.name: dict(s.inputs) for s in charts} == wanted
    assert bool(charts) == (stack in WITH_A_PLUGIN)
    steps = [s for s in registered if s not in charts]
    theirs = {Name(s.inputs["kind"], s.name): dict(s.inputs) for s in steps}
    assert ours.keys() == theirs.keys()
    assert len(ours) >= 8
    for name, thing in theirs.items():
        assert ours[name] == _withheld(thing), name
    assert "canary" not in str(ours)


def _withheld(thing: dict[str, Any]) -> dict[str, Any]:
    """A registered object with its secrets taken out as `objects` says that it does."""
    if thing["kind"] == "Secret":
        assert thing.pop("stringData") in ({"apiKey": SECRET}, {"token": SECRET}, SECRET)
        assert "data" not in thing
        thing["metadata"] = {**thing["metadata"], "annotations": {"local-ai-lab/withheld": "its data is secret"}}
    annotations = thing.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    if annotations.get("local-ai-lab/api-key", "gateway") != "gateway":
        assert len(annotations["local-ai-lab/api-key"]) == 8
        annotations["local-ai-lab/api-key"] = WITHHELD
    return thing


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("stack", STACKS)
def test_the_commands_are_those_that_the_program_registers(stack: str, edit: str) -> None:
    ours = commands(plan(stack, EDITS[edit]))
    theirs = {s.name: s.inputs for s in preview(stack, EDITS[edit]).steps if s.type == "command:local:Command"}
    assert ours.keys() == theirs.keys()
    for name, command in ours.items():
        told = {key: WITHHELD if value == SECRET else value for key, value in theirs[name]["environment"].items()}
        assert {key: value for key, value in told.items() if key not in FROM_THE_MACHINE} == command.environment, name
        assert theirs[name]["create"] == f".venv/bin/{command.runs}"
        assert tuple(theirs[name].get("triggers", ())) == command.triggers


@pytest.mark.parametrize("stack", IN_DOCKER)
def test_commands_of_a_stack_with_a_gateway_hold_no_key(stack: str) -> None:
    def edit(own: dict[str, Any]) -> None:
        own["gateway"] = {"kind": "envoy"}

    ours = commands(plan(stack, edit))
    theirs = {s.name: s.inputs for s in preview(stack, edit).steps if s.type == "command:local:Command"}
    assert ours.keys() == theirs.keys()
    check = theirs["inference-check-run"]["environment"]
    assert check["LAB_GATEWAY"] == f"~/.local/state/local-ai-lab/stacks/{stack}/gateway"
    assert not [name for made in theirs.values() for name in made["environment"] if name == "LAB_API_KEY"]


@pytest.mark.parametrize("stack", ON_KUBERNETES)
def test_an_object_comes_after_all_that_it_depends_on(stack: str) -> None:
    order = list(objects(plan(stack, _all)))
    place = {}
    steps = {s.urn: s for s in preview(stack, _all).steps}
    for urn, step in steps.items():
        if step.type.startswith("kubernetes:") and "helm" not in step.type:
            place[urn] = order.index(Name(step.inputs["kind"], step.name))
    assert len(place) == len(order)
    pairs = [(urn, needed) for urn in place for needed in _objects_before(steps, urn) if needed in place]
    assert len(pairs) > 10
    assert [pair for pair in pairs if place[pair[0]] < place[pair[1]]] == []


def _objects_before(steps: dict[str, Any], urn: str) -> set[str]:
    """What must be there before `urn`: its dependencies and its component's, and all that is inside of those."""
    component = steps[urn].parent
    waited = {*steps[urn].dependencies, *steps[component].dependencies}
    return waited | {other for other, step in steps.items() if step.parent in waited}


def test_rendering_needs_neither_pulumi_nor_the_network() -> None:
    text = (
        "import sys, json\n"
        "sys.addaudithook(lambda event, _: event.startswith('socket.') and sys.exit(event))\n"
        "import components.rendered\n"
        "from stacks.plan import Plan\n"
        "plan = Plan.from_json(sys.stdin.read())\n"
        "assert components.rendered.objects(plan) and components.rendered.commands(plan)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", text],
        input=plan(STACKS[0]).to_json(),
        env={"PYTHONPATH": str(ROOT), "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for module in ("pulumi", "pulumi_kubernetes", "pulumi_command", "grpc", "httpx"):
        assert f'"{module}"' not in done.stdout, module


def test_the_stacks_here_show_every_kind_of_object() -> None:
    kinds = {name.kind for stack in STACKS for name in objects(plan(stack, _all))}
    assert kinds >= {"Secret", "DaemonSet", "Deployment", "PersistentVolume", "PodDisruptionBudget", "NetworkPolicy"}
    assert {configuration(stack)["machine"]["kind"] for stack in STACKS} == {"cpu", "nvidia"}
