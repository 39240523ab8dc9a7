"""Kill -9 of a run at every write of its state and at every write to the cluster: the next run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.engine.apply_support import CLUSTER, HEAD, World, errors
from tests.support.fake_apiserver import FakeServer, Request, serving, write_kubeconfig

# A new stack, and then a change that updates, replaces in both orders, prunes and adds.
PROGRAM = CLUSTER + """
change = config.get("change")
lab = k8s.core.v1.Namespace("lab", metadata={"name": "lab", "labels": labels}, opts=opts())
def one(name, **data):
    return k8s.core.v1.ConfigMap(name, metadata={"name": name, "namespace": "lab", "labels": labels}, data=data, opts=opts(lab))
kept, changed = one("kept", a="1"), one("changed", a=change or "0")
one("added" if change else "pruned", a="1")
auto = k8s.core.v1.Service("auto", metadata={"namespace": "lab", "labels": labels}, spec={"ports": [{"port": 80}], "cluster_ip": change or "0"}, opts=opts(lab))
local.Command("check", create="echo check >> boot.log", delete="true", triggers=[change or "0"], opts=Opts(depends_on=[changed]))
"""  # fmt: skip
CHANGE = {"change": "1", "generation": "1"}
STAGES = {"fresh": {}, "change": CHANGE}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        fake.mark()
        yield fake


def _world(folder: Path, server: FakeServer, stage: str) -> World:
    folder.mkdir(exist_ok=True)
    write_kubeconfig(folder / "kubeconfig", server.url)
    (folder / "program.py").write_text(PROGRAM)
    world = World(folder)
    if stage == "change":
        assert world.up(PROGRAM).ok
    return world


def _start(world: World, number: int, when: str, stage: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.engine.kill_driver", str(world.folder), str(number), when, json.dumps(STAGES[stage])]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _inventory(world: World, server: FakeServer) -> object:
    objects = {path: (item.get("data"), item.get("spec")) for path, item in server.objects.items()}
    resources = [(item["urn"], item.get("delete"), item.get("pendingReplacement")) for item in world.deployment()["resources"]]
    return objects, sorted(map(str, resources)), world.deployment().get("pending_operations")


def _expected(tmp_path: Path, stage: str) -> object:
    with serving() as fake:
        fake.mark()
        world = _world(tmp_path / "unkilled", fake, stage)
        assert world.up(PROGRAM, config=STAGES[stage]).ok
        return _inventory(world, fake)


def _recovers(world: World, server: FakeServer, stage: str, expected: object) -> None:
    result = world.up(PROGRAM, config=STAGES[stage])
    assert result.ok, errors(result)
    assert _inventory(world, server) == expected
    server.requests.clear()
    again = world.up(config=STAGES[stage])
    assert not again.changed, again.summary
    assert not [request for request in server.requests if request.writes]
    assert sorted(path.name for path in world.state.parent.iterdir()) == ["stack.json", "stack.json.lock"]
    assert world.down().ok
    assert world.log()[-1] == "delete"


def _kill_at_state_write(tmp_path: Path, server: FakeServer, stage: str, number: int, when: str, expected: object) -> bool:
    world = _world(tmp_path / f"{stage}-{number}-{when}", server, stage)
    process = _start(world, number, when, stage)
    process.communicate(timeout=60)
    if process.returncode == 0:
        return False
    assert process.returncode == -signal.SIGKILL
    _recovers(world, server, stage, expected)
    server.objects.clear()
    server.owned.clear()
    server.mark()
    return True


@pytest.mark.parametrize(
    ("stage", "number", "when"), [("fresh", 1, "half"), ("fresh", 5, "after"), ("change", 3, "before"), ("change", 7, "after")]
)
def test_a_kill_at_some_state_writes_is_recovered_from(tmp_path: Path, server: FakeServer, stage: str, number: int, when: str) -> None:
    assert _kill_at_state_write(tmp_path, server, stage, number, when, _expected(tmp_path, stage))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "half", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_every_state_write_is_recovered_from(tmp_path: Path, server: FakeServer, stage: str, when: str) -> None:
    expected, number = _expected(tmp_path, stage), 1
    while _kill_at_state_write(tmp_path, server, stage, number, when, expected):
        number += 1
    assert number > 15  # each step is written twice


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_every_write_to_the_cluster_is_recovered_from(tmp_path: Path, server: FakeServer, stage: str) -> None:
    expected, number, reached = _expected(tmp_path, stage), 0, True
    while reached:
        number, reached = number + 1, False
        world = _world(tmp_path / f"{stage}-{number}", server, stage)
        seen = 0
        process = _start(world, 0, "never", stage)

        def before(request: Request, process: subprocess.Popen[str] = process, number: int = number) -> None:
            nonlocal seen, reached
            seen += request.writes
            if request.writes and seen == number:
                reached = True
                process.kill()  # the server goes on and does what it was asked

        server.before = before
        process.communicate(timeout=60)
        server.before = lambda _: None
        _recovers(world, server, stage, expected)
        server.objects.clear()
        server.owned.clear()
        server.mark()
    assert number > 3


LONG = (
    HEAD
    + """
local.Command("long", create="echo start >> boot.log; (sleep 2; echo orphan >> boot.log) & wait; echo end >> boot.log")
"""
)


def _wait_for(world: World, word: str) -> None:
    end = time.monotonic() + 20
    while word not in world.log():
        assert time.monotonic() < end
        time.sleep(0.02)


def _started(tmp_path: Path) -> tuple[World, subprocess.Popen[str]]:
    (tmp_path / "program.py").write_text(LONG)
    world = World(tmp_path)
    process = _start(world, 0, "never", "fresh")
    _wait_for(world, "start")
    return world, process


def test_an_orphan_of_a_killed_run_never_works_beside_the_next_one(tmp_path: Path) -> None:
    world, process = _started(tmp_path)
    process.kill()
    process.wait()
    assert world.up(LONG).ok
    assert world.log() == ["start", "start", "orphan", "end"]  # the orphan of the first run ended before the second began
    assert "pending_operations" not in world.deployment()


def test_down_after_a_kill_runs_the_delete_of_what_was_being_created(tmp_path: Path) -> None:
    program = LONG.replace('create="', 'delete="echo deleted >> boot.log", create="')
    (tmp_path / "program.py").write_text(program)
    world = World(tmp_path)
    process = _start(world, 0, "never", "fresh")
    _wait_for(world, "start")
    process.kill()
    process.wait()
    result = world.down()
    assert result.ok
    assert world.log() == ["start", "deleted"]
    assert "pending_operations" not in world.deployment()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_command_with_its_children_and_saves_the_state(tmp_path: Path, number: int) -> None:
    world, process = _started(tmp_path)
    os.kill(process.pid, number)
    out, _ = process.communicate(timeout=20)
    assert "False {'create': 1}" in out
    time.sleep(2.2)
    assert world.log() == ["start"]
    assert [item["type"] for item in world.deployment()["pending_operations"]] == ["creating"]
    assert world.up(LONG).ok
    assert world.log() == ["start", "start", "orphan", "end"]


def test_a_second_ctrl_c_kills_a_command_that_does_not_listen(tmp_path: Path) -> None:
    program = HEAD + 'local.Command("deaf", create="trap : TERM INT; echo start >> boot.log; while :; do sleep 0.1; done")'
    (tmp_path / "program.py").write_text(program)
    world = World(tmp_path)
    process = _start(world, 0, "never", "fresh")
    _wait_for(world, "start")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - begun < 5


def test_ctrl_c_ends_a_wait_for_readiness(tmp_path: Path, server: FakeServer) -> None:
    server.endpoints_ready = False
    text = CLUSTER + 'k8s.core.v1.Service("s", metadata={"name": "s", "namespace": "default"}, spec={"selector": {"a": "b"}}, opts=opts())'
    write_kubeconfig(tmp_path / "kubeconfig", server.url)
    (tmp_path / "program.py").write_text(text)
    world = World(tmp_path)
    process = _start(world, 0, "never", "fresh")
    end = time.monotonic() + 20
    while not any("endpointslices" in request.path for request in server.requests):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert world.recorded()["s"]["initErrors"]
    server.endpoints_ready = True
    assert world.up(text).ok
