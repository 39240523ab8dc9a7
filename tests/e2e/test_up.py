"""`lab up`, `check`, `status` and `down` for real: Pulumi, Kubernetes, containerd and, in the first test, vLLM on the
processors.
"""

import functools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from host.drivers.embedded import cgroups
from stacks import names
from tests.e2e.conftest import Cluster
from tests.support import stand_in_image
from tests.support.inventory import difference, inventory
from tests.support.kill_points import EVERYTHING
from tests.support.project_copy import ProjectCopy

pytestmark = pytest.mark.e2e

REAL, STAND_IN = ("e2e-up", 61), ("e2e-kill", 60)  # stack and slot; each has a store of images of its own
MODEL = "gemma-3-270m"
_WEIGHTS = "~/.cache/local-ai-lab/test-models"


class Lab(ProjectCopy):
    """A copy of the project with one stack file of its own."""

    def __init__(self, folder: Path, stack: str, slot: int) -> None:
        super().__init__(folder)
        self.stack, self.slot = stack, slot
        self.write()

    def write(self, **environment: str) -> None:
        model = {
            "name": MODEL,
            "model": MODEL,
            "contextTokens": 2048,
            "concurrentRequests": 4,
            "environment": environment,
        }
        own = {
            "machine": {"kind": "cpu", "memoryGiB": 20, "cpus": 2},
            "cluster": {"driver": "embedded", "slot": self.slot},
            "modelCache": {"path": _WEIGHTS},
            "models": [model],
        }
        self.write_stack(self.stack, own)

    def up(self) -> dict:
        return self("up", self.stack, "--yes", "--json")

    def down(self) -> None:
        self("down", self.stack, "--yes")

    def inventory(self) -> dict[str, list[str]]:
        return inventory(f"{names.PART_OF}-{self.stack}")

    def killed(self, victim: str, point: int, command: str) -> int:
        """`up` or `down` ended at a point; returns how many points it had. Nothing of it runs any more afterwards."""
        self(
            victim,
            str(point),
            command,
            self.stack,
            module="tests.support.killed_run",
            codes=(0, 1, 130, -signal.SIGKILL) if point else (0,),
        )
        end = time.monotonic() + 100
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.5)
        assert left == [], f"{victim} at {point} of {command} left {left}"
        found = re.search(r"points: (\d+)\s*$", self.said)
        return int(found.group(1)) if found else 0

    def deployment(self) -> dict:
        """The stack's state, as Pulumi exports it."""
        return self("pulumi", "stack", "export", "--stack", self.stack)["deployment"]

    def processes(self) -> list[str]:
        """What a run of Pulumi on this stack started and did not end; the cluster's own programs have an environment of
        their own.
        """
        mark = f"TMPDIR={Path(names.state_folder(self.stack)).expanduser() / 'tmp'}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
        return found


def _fresh(folder: Path, stack: str, slot: int) -> Iterator[Lab]:
    """A lab whose stack is not there yet; what the test leaves is removed, and what a run left that was ended."""
    lab, state = Lab(folder, stack, slot), Path(names.state_folder(stack)).expanduser()
    if (state / "cluster").exists():
        Cluster(stack, slot).host("destroy")
    shutil.rmtree(state, ignore_errors=True)
    yield lab
    lab("down", stack, "--yes", codes=(0, 1))  # 1: nothing is there
    if not (state / "cluster").exists():
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """With the real image and model."""
    yield from _fresh(tmp_path / "lab", *REAL)


@pytest.fixture
def quick(tmp_path: Path, stand_in: Path) -> Iterator[Lab]:
    """With a stand-in for the vLLM image: an `up` takes seconds. The weights of the real model must be there
    already.
    """
    for lab in _fresh(tmp_path / "lab", *STAND_IN):
        with stand_in_image.offered(lab.folder, stand_in):
            yield lab


def test_a_bare_machine_answers_and_is_bare_again_afterwards(lab):
    before = lab.inventory()
    first = lab.up()
    assert first["ok"]
    assert set(first["summary"]) == {"create"}
    (walk,) = first["check"]
    assert [hop["name"] for hop in walk["hops"]] == [
        "cluster",
        "node",
        "rollout",
        "pod",
        "service",
        "/v1/models",
        "chat",
        "streaming",
    ]
    assert len(walk["text"]) > 1
    assert walk["tokensPerSecond"] > 0
    print("\nfirst up", first["seconds"], "s:", walk["text"], walk["tokensPerSecond"], "tokens/s")

    second = lab.up()
    assert set(second["summary"]) == {"same"}
    assert second["check"][0]["ok"]
    print("again", second["seconds"], "s")

    (start,) = yaml.safe_load((lab.folder / "measured" / f"{lab.stack}.yaml").read_text())["starts"]
    assert start["kvTokens"] > 0 and start["weightsGiB"] > 0
    decisions = {d["name"]: d for d in lab("plan", lab.stack, "--json")["models"][0]["decisions"]}
    tokens = decisions["kvTokens"]
    assert (tokens["kind"], tokens["value"]) == ("measured", f"{start['kvTokens']:,}")

    lab.write(VLLM_LOGGING_LEVEL="DEBUG")
    third = lab.up()
    changed = {op: n for op, n in third["summary"].items() if op != "same"}
    # the Deployment and the check
    assert changed in ({"update": 1, "replace": 1}, {"update": 2}, {"update": 1, "create": 1}), changed
    assert third["check"][0]["ok"]

    assert lab("status", lab.stack, "--json")["cluster"]["state"] == "running"
    lab.down()
    assert difference(before, lab.inventory()) == {}


_slow = functools.partial(pytest.param, marks=pytest.mark.slow)

_PLACES = {"lab": 3, "pulumi": 5, "interrupt": 7}
"""At which of ten places of a run the default run ends which program."""


def _points(count: int, place: int) -> list[int]:
    """Ten points that are spread over a run, or one of them."""
    spread = [1 + number * (count - 1) // 9 for number in range(10)]
    return sorted(set(spread)) if EVERYTHING else [spread[place]]


_MEASURED: dict = {}


def _measured(quick: Lab) -> dict:
    """How many points a whole `up` and a whole `down` have, and what stands in the cluster between them; found out
    once.
    """
    if not _MEASURED:
        _MEASURED["up"] = quick.killed("lab", 0, "up")
        _MEASURED["objects"] = _objects()
        _MEASURED["down"] = quick.killed("lab", 0, "down")
        assert _MEASURED["up"] > 40, quick.said
        assert _MEASURED["down"] > 20, quick.said
    return _MEASURED


@pytest.mark.parametrize("victim", ["lab", _slow("pulumi"), "interrupt"])
def test_an_up_ended_anywhere_is_finished_by_the_next(quick, victim):
    before, whole = quick.inventory(), _measured(quick)
    for point in _points(whole["up"], _PLACES[victim]):
        print(f"up: {victim} at {point} of {whole['up']}", flush=True)
        quick.killed(victim, point, "up")
        again = quick.up()
        assert again["check"][0]["ok"]
        assert _objects() == whole["objects"]
        assert set(quick.up()["summary"]) == {"same"}
        assert not (quick.deployment().get("pending_operations") or [])
        quick.down()
        assert difference(before, quick.inventory()) == {}


@pytest.mark.parametrize("victim", ["lab", _slow("pulumi"), _slow("interrupt")])
def test_a_down_ended_anywhere_is_finished_by_the_next_and_up_answers_again(quick, victim):
    before, whole = quick.inventory(), _measured(quick)
    for point in _points(whole["down"], _PLACES[victim]):
        print(f"down: {victim} at {point} of {whole['down']}", flush=True)
        quick.up()
        quick.killed(victim, point, "down")
        again = quick.up()
        assert again["check"][0]["ok"]
        assert _objects() == whole["objects"]
        quick.killed(victim, point, "down")
        quick("down", quick.stack, "--yes", codes=(0, 1))  # it may have been over already
        assert difference(before, quick.inventory()) == {}


def test_a_plain_pulumi_that_was_killed_is_no_obstacle(quick):
    """Its lock, its pending operations and its plugins are all there, made by a real kill."""
    quick.up()
    quick.write(VLLM_LOGGING_LEVEL="DEBUG")
    plain = [
        quick.folder / ".venv/bin/python",
        "-P",
        "-m",
        "cli",
        "pulumi",
        "up",
        "--stack",
        quick.stack,
        "--yes",
        "--skip-preview",
    ]
    environment = {**os.environ, "PYTHONPATH": str(quick.folder)}
    run = subprocess.Popen(
        plain, cwd=quick.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert run.stdout
    for line in run.stdout:
        if "updating" in line:
            break
    run.kill()  # `lab pulumi` has become the CLI
    run.wait()
    locks = (
        Path(os.environ["PULUMI_BACKEND_URL"].removeprefix("file://"))
        / ".pulumi/locks/organization/local-ai-lab"
        / quick.stack
    )
    assert list(locks.glob("*.json"))
    again = quick.up()
    assert again["check"][0]["ok"]
    assert "removed the lock" in quick.said
    assert not list(locks.glob("*.json"))
    assert set(quick.up()["summary"]) == {"same"}
    assert not (quick.deployment().get("pending_operations") or [])


@pytest.mark.slow
def test_plain_pulumi_and_lab_do_the_same(quick):
    before, whole = quick.inventory(), _measured(quick)
    quick("pulumi", "stack", "init", quick.stack, codes=(0, 255))  # 255: it is there
    for command in ("up", "refresh"):
        quick("pulumi", command, "--stack", quick.stack, "--yes", "--skip-preview")
    assert _objects() == whole["objects"]
    assert set(quick.up()["summary"]) == {"same"}
    quick("pulumi", "destroy", "--stack", quick.stack, "--yes", "--skip-preview")
    assert not quick.deployment().get("resources")
    assert difference(before, quick.inventory()) == {}


@pytest.mark.parametrize(
    "program", [_slow("etcd"), _slow("kube-apiserver"), "kubelet", _slow("containerd"), _slow("all")]
)
def test_a_killed_part_of_a_running_stack_is_brought_back_by_up(quick, program):
    quick.up()
    if program == "all":
        assert not cgroups.kill(Cluster(*STAND_IN).layout, seconds=15)
    else:
        os.kill(Cluster(*STAND_IN).pid(program), signal.SIGKILL)
        time.sleep(0.5)
    again = quick.up()
    assert again["check"][0]["ok"]
    assert Cluster(*STAND_IN).host("status")["state"] == "running"
    assert set(quick.up()["summary"]) == {"same"}


def test_a_recreated_cluster_is_not_taken_for_the_old_one(quick):
    quick.up()
    Cluster(*STAND_IN).host("destroy", by_stack=False)
    again = quick.up()
    assert again["check"][0]["ok"]
    assert set(quick.up()["summary"]) == {"same"}


def _objects() -> list[str]:
    """What stands in the cluster, without the names that Kubernetes makes up."""
    listed = Cluster(*STAND_IN).kubectl("get",
    "namespaces,storageclasses,persistentvolumes,deployments,services,networkpolicies,poddisruptionbudgets,"
                             "persistentvolumeclaims,serviceaccounts", "-A", "-o", "name").split()  # fmt: skip
    return sorted(set(listed))
