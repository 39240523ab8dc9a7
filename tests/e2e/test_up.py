"""`lab up`, `check`, `status` and `down` for real: Kubernetes, containerd and, in the first test, vLLM on the processors (issue B: B1 to B4)."""

import functools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host.artifacts import go_modules
from host.embedded import cgroups, images
from stacks import names
from stacks.catalog import load
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster
from tests.support.inventory import difference, inventory

pytestmark = pytest.mark.e2e

REAL, STAND_IN = ("e2e-up", 61), ("e2e-kill", 60)  # stack and slot; each has a store of images of its own
MODEL = "gemma-3-270m"
_IMAGE = load().images["vllm-cpu-embedded"].reference
_WEIGHTS = "~/.cache/local-ai-lab/test-models"


class Lab:
    """A copy of the project with one stack file of its own, driven as a user would."""

    def __init__(self, folder: Path, stack: str, slot: int) -> None:
        self.folder, self.stack, self.slot = folder, stack, slot
        skip = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "__pycache__", ".hypothesis", "Pulumi.*.yaml", ".lab-install.lock")
        shutil.copytree(ROOT, folder, ignore=skip)
        (folder / ".venv").symlink_to(ROOT / ".venv")
        self.write()
        self.said = ""

    def write(self, **environment: str) -> None:
        stack = {
            "config": {
                "pulumi:disable-default-providers": ["kubernetes"],
                "local-ai-lab:machine": {"kind": "cpu", "memoryGiB": 20, "cpus": 2},
                "local-ai-lab:cluster": {"driver": "embedded", "slot": self.slot},
                "local-ai-lab:modelCache": {"path": _WEIGHTS},
                "local-ai-lab:models": [
                    {"name": MODEL, "model": MODEL, "contextTokens": 2048, "concurrentRequests": 4, "environment": environment}
                ],
            }
        }
        (self.folder / f"Pulumi.{self.stack}.yaml").write_text(json.dumps(stack))

    def __call__(self, *words: str, codes: tuple[int, ...] = (0,), module: str = "cli") -> dict:
        """Runs one command; returns its JSON, or {} where it printed none."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [self.folder / ".venv/bin/python", "-P", "-m", module, *words],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=2400, check=False,
        )  # fmt: skip
        self.said = done.stderr
        assert done.returncode in codes, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def up(self) -> dict:
        return self("up", self.stack, "--yes", "--json")

    def down(self) -> None:
        self("down", self.stack, "--yes")

    def inventory(self) -> dict[str, list[str]]:
        return inventory(f"{names.PART_OF}-{self.stack}")

    def killed(self, point: int) -> int:
        """`up` killed at a point; returns how many points it had where it came to its end."""
        self(str(point), self.stack, module="tests.support.killed_up", codes=(0, -signal.SIGKILL) if point else (0,))
        found = re.search(r"points: (\d+)\s*$", self.said)
        return int(found.group(1)) if found else 0


def _fresh(folder: Path, stack: str, slot: int) -> Iterator[Lab]:
    """A lab whose stack is not there yet; what the test leaves is removed."""
    lab, state = Lab(folder, stack, slot), Path(names.state_folder(stack)).expanduser()

    def remove() -> None:
        if (state / "state.json").exists() or (state / "cluster").exists():
            lab.down()

    remove()
    yield lab
    remove()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """With the real image and model."""
    yield from _fresh(tmp_path / "lab", *REAL)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Lab]:
    """With a stand-in for the vLLM image: an `up` takes seconds."""
    module = go_modules.GoModule(ROOT / "tests/e2e/standin", {"pause": "."}, "v1")
    archive = tmp_path / "stand-in.tar"
    images.write_pause(archive, (go_modules.build(module, tmp_path) / "pause").read_bytes(), _IMAGE)
    cluster = Cluster(*STAND_IN)
    cluster.host("ensure")
    cluster.containerd_import(archive)
    cluster.host("destroy")
    yield from _fresh(tmp_path / "lab", *STAND_IN)


def test_a_bare_machine_answers_and_is_bare_again_afterwards(lab):
    before = lab.inventory()
    first = lab.up()
    assert first["ok"]
    assert set(first["summary"]) == {"create"}
    (walk,) = first["check"]
    assert [hop["name"] for hop in walk["hops"]] == ["cluster", "node", "pod", "service", "/v1/models", "chat", "streaming"]
    assert len(walk["text"]) > 1
    assert walk["tokensPerSecond"] > 0
    print("\nfirst up", first["seconds"], "s:", walk["text"], walk["tokensPerSecond"], "tokens/s")

    second = lab.up()
    assert set(second["summary"]) == {"same"}
    assert second["check"][0]["ok"]
    assert second["seconds"] < 20

    lab.write(VLLM_LOGGING_LEVEL="DEBUG")
    third = lab.up()
    changed = {op: n for op, n in third["summary"].items() if op != "same"}
    assert changed in ({"update": 1, "replace": 1}, {"update": 2}, {"update": 1, "create": 1}), changed  # the Deployment and the check
    assert third["check"][0]["ok"]

    assert lab("status", lab.stack, "--json")["cluster"]["state"] == "running"
    lab.down()
    assert difference(before, lab.inventory()) == {}


def test_an_up_killed_anywhere_is_finished_by_the_next(quick):
    before = quick.inventory()
    points = quick.killed(0)
    assert points > 40, quick.said
    whole = _objects()
    quick.down()
    everything = os.environ.get("LAB_SLOW") == "1"
    for point in range(1, points + 1) if everything else sorted(random.sample(range(1, points + 1), 5)):
        print(f"killed at {point} of {points}", flush=True)
        quick.killed(point)
        again = quick.up()
        assert again["check"][0]["ok"], f"killed at {point} of {points}"
        assert _objects() == whole, f"killed at {point} of {points}"
        assert set(quick.up()["summary"]) == {"same"}, f"killed at {point} of {points}"
        quick.down()
        assert difference(before, quick.inventory()) == {}, f"killed at {point} of {points}"


_slow = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize("program", [_slow("etcd"), _slow("kube-apiserver"), "kubelet", _slow("containerd"), _slow("all")])
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
    listed = Cluster(*STAND_IN).kubectl("get", "namespaces,storageclasses,persistentvolumes,deployments,services,networkpolicies,poddisruptionbudgets,"
                             "persistentvolumeclaims,serviceaccounts", "-A", "-o", "name").split()  # fmt: skip
    return sorted(set(listed))
