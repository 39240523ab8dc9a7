"""`lab init`, `doctor` and `endpoint` for somebody else's cluster, against the API server of the state tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.__main__ import app
from cli.commands import init
from cli.commands.endpoint import forward_commands
from cli.commands.init import Wanted
from cli.doctor import foreign
from host.drivers import ownership
from stacks.errors import LabError
from tests.support.existing_world import CONTEXT, GPU, STACK, World, node
from tests.support.stacks import plan


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path / "world")
    monkeypatch.setenv("HOME", str(made.home))
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
    yield made
    made.close()


def _layers() -> dict[str, Any]:
    found = list(foreign.layers(STACK, plan(STACK).cluster))  # type: ignore[arg-type]
    return {layer.id: layer for layer in found}


def test_the_doctor_says_of_each_layer_what_was_seen(world: World) -> None:
    found = _layers()
    assert {name: layer.state for name, layer in found.items()} == dict.fromkeys(
        ("cluster", "version", "rights", "namespace", "gpus", "storage", "quota"), "ok"
    )
    assert found["gpus"].evidence == "gpu-1: 1 GPU"
    assert found["storage"].evidence == "gp3, efs"
    assert world.written() == {
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "POST /api/v1/namespaces?dryRun=All",
    }


def test_the_doctor_names_cause_and_fix_of_every_broken_layer(world: World) -> None:
    world.say(
        denied=["create deployments", "list storageclasses"], nodes=[node(offered={GPU: None})], version="v1.20.1"
    )
    world.space(owner="")
    found = _layers()
    states = {name: layer.state for name, layer in found.items()}
    assert states == {
        "cluster": "ok", "version": "fail", "rights": "fail", "namespace": "fail", "gpus": "fail", "storage": "skipped",
        "quota": "ok",
    }  # fmt: skip
    for layer in found.values():
        assert layer.state != "fail" or (layer.cause and layer.fix)
    world.say(up=False)
    assert [(name, layer.state) for name, layer in _layers().items()] == [("cluster", "fail")]


def test_init_writes_a_stack_file_for_the_best_node_of_a_context(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        node("small", labels={"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.memory": "23034"}),
        node("big"),
    ]
    for each in nodes:
        each["status"]["capacity"] = {**each["status"]["allocatable"], "memory": "89000000Ki", "cpu": "12"}
    world.say(nodes=nodes)
    init.run(tmp_path, Wanted("mine", context=CONTEXT, yes=True), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["config"]["cluster"] == {
        "driver": "existing", "context": CONTEXT, "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"},
    }  # fmt: skip
    assert (told["config"]["machine"]["gpu"], told["config"]["machine"]["memoryGiB"]) == ("a100-40gb", 84)
    assert "modelCache" not in told["config"]
    assert told["plan"]["cluster"]["context"] == CONTEXT
    assert world.written() == set()


def test_init_without_a_context_names_those_that_there_are(world: World, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="has: gpu-cluster, laptop") as refused:
        init.run(tmp_path, Wanted("mine", driver="existing", yes=True), as_json=True)
    assert refused.value.exit_code == 2
    assert not list(tmp_path.glob("Pulumi.*.yaml"))
    with pytest.raises(LabError, match="has no context nowhere") as unknown:
        init.run(tmp_path, Wanted("mine", context="nowhere", yes=True), as_json=True)
    assert unknown.value.exit_code == 2


def test_endpoint_says_how_the_port_is_opened() -> None:
    (command,) = forward_commands(plan(STACK))
    model = plan(STACK).models[0]
    assert command == (
        f"kubectl --kubeconfig {plan(STACK).kubernetes.kubeconfig} -n local-ai-lab-{STACK} port-forward "
        f"service/{model.name} {model.port}:8000"
    )
    told = json.loads(CliRunner().invoke(app, ["endpoint", STACK, "--json"]).stdout)
    assert told["forward"] == [command]


def test_the_marks_of_two_checkouts_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    here = ownership.checkout(STACK)
    monkeypatch.setattr(ownership, "_PROJECT", Path("/elsewhere"))
    assert ownership.checkout(STACK) != here
