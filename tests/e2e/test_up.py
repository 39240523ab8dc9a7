"""`lab up`, `check`, `status` and `down` for real: Kubernetes, containerd and, in the first test, vLLM on the processors (issue B: B1 to B4)."""

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

from host import go_modules
from host.embedded import cgroups, images
from stacks import names
from stacks.catalog import load
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster
from tests.support.inventory import difference, inventory

pytestmark = pytest.mark.e2e

STACK, SLOT = "e2e-up", 61
MODEL = "gemma-3-270m"
_IMAGE = load().images["vllm-cpu-embedded"].reference
_WEIGHTS = "~/.cache/local-ai-lab/test-models"


class Lab:
    """A copy of the project with one stack file of its own, driven as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
                "local-ai-lab:cluster": {"driver": "embedded", "slot": SLOT},
                "local-ai-lab:modelCache": {"path": _WEIGHTS},
                "local-ai-lab:models": [
                    {"name": MODEL, "model": MODEL, "contextTokens": 2048, "concurrentRequests": 4, "environment": environment}
                ],
            }
        }
        (self.folder / f"Pulumi.{STACK}.yaml").write_text(json.dumps(stack))

    def __call__(self, *words: str, code: int = 0, module: str = "cli") -> dict:
        """Runs one command; returns its JSON, or {} where it printed none."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [self.folder / ".venv/bin/python", "-P", "-m", module, *words],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=2400, check=False,
        )  # fmt: skip
        self.said = done.stderr
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def up(self) -> dict:
        return self("up", STACK, "--yes", "--json")

    def killed(self, point: int) -> int:
        """`up` killed at a point; returns how many points it had where it was not."""
        try:
            self(str(point), STACK, module="tests.support.killed_up", code=-signal.SIGKILL if point else 0)
        except AssertionError:
            if not re.search(r"points: \d+\s*$", self.said):
                raise
        found = re.search(r"points: (\d+)\s*$", self.said)
        return int(found.group(1)) if found else 0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A lab whose stack is not there yet; what the test leaves is removed."""
    made = Lab(tmp_path / "lab")
    if (Path(names.state_folder(STACK)).expanduser()).exists():
        made("down", STACK, "--yes")
    yield made
    if (Path(names.state_folder(STACK)).expanduser()).exists():
        made("down", STACK, "--yes")


@pytest.fixture
def stand_in(lab: Lab, tmp_path: Path) -> Cluster:
    """The stack's cluster, whose containerd takes a stand-in for the vLLM image: an `up` takes seconds, and asks for no build."""
    module = go_modules.GoModule(ROOT / "tests/e2e/standin", {"pause": "."}, "v1")
    archive = tmp_path / "stand-in.tar"
    images.write_pause(archive, (go_modules.build(module, tmp_path) / "pause").read_bytes(), _IMAGE)
    cluster = Cluster(STACK, SLOT)
    store = cluster.layout.images
    shutil.rmtree(store, ignore_errors=True)  # of an earlier run with the real image
    cluster.host("ensure")
    cluster.containerd_import(archive)
    cluster.host("destroy")
    return cluster


def test_a_bare_machine_answers_and_is_bare_again_afterwards(lab):
    before = inventory(f"{names.PART_OF}-{STACK}")
    shutil.rmtree(Cluster(STACK, SLOT).layout.images, ignore_errors=True)  # a stand-in may have taken the image's place
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

    assert lab("status", STACK, "--json")["cluster"]["state"] == "running"
    lab("down", STACK, "--yes")
    assert difference(before, inventory(f"{names.PART_OF}-{STACK}")) == {}


def test_an_up_killed_anywhere_is_finished_by_the_next(lab, stand_in):
    before = inventory(f"{names.PART_OF}-{STACK}")
    points = lab.killed(0)
    assert points > 40
    whole = _objects(stand_in)
    lab("down", STACK, "--yes")
    everything = os.environ.get("LAB_E2E_ALL") == "1"
    for point in range(1, points + 1) if everything else sorted(random.sample(range(1, points + 1), 5)):
        lab.killed(point)
        again = lab.up()
        assert again["check"][0]["ok"], f"killed at {point} of {points}"
        assert _objects(stand_in) == whole, f"killed at {point} of {points}"
        assert set(lab.up()["summary"]) == {"same"}, f"killed at {point} of {points}"
        lab("down", STACK, "--yes")
        assert difference(before, inventory(f"{names.PART_OF}-{STACK}")) == {}, f"killed at {point} of {points}"


@pytest.mark.parametrize("program", ["etcd", "kube-apiserver", "kubelet", "containerd", "all"])
def test_a_killed_part_of_a_running_stack_is_brought_back_by_up(lab, stand_in, program):
    lab.up()
    if program == "all":
        assert not cgroups.kill(stand_in.layout, seconds=15)
    else:
        os.kill(stand_in.pid(program), signal.SIGKILL)
        time.sleep(0.5)
    again = lab.up()
    assert again["check"][0]["ok"]
    assert set(lab.up()["summary"]) == {"same"}


def test_a_recreated_cluster_is_not_taken_for_the_old_one(lab, stand_in):
    lab.up()
    stand_in.host("destroy")
    again = lab.up()
    assert again["check"][0]["ok"]
    assert set(lab.up()["summary"]) == {"same"}


def _objects(cluster: Cluster) -> list[str]:
    """What stands in the cluster, without the names that Kubernetes makes up."""
    listed = cluster.kubectl("get", "namespaces,storageclasses,persistentvolumes,deployments,services,networkpolicies,poddisruptionbudgets,"
                             "persistentvolumeclaims,serviceaccounts", "-A", "-o", "name").split()  # fmt: skip
    return sorted(set(listed))
