"""`lab up` of whole machines from nothing, through Pulumi's engine: the programs of the host are strict fakes, and
behind the API server of which they speak is a real one, whose node has GPUs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cli.load import load_plan
from host.artifacts import go_modules
from host.drivers.embedded import images, parts
from host.drivers.embedded.layout import Layout
from stacks import names
from tests.conftest import ROOT
from tests.e2e.conftest import Cluster
from tests.support import gpu_machine, k3s_world, minikube_world, static_image, whole_machine
from tests.support.golden import assert_golden
from tests.support.gpu_machine import GpuMachine
from tests.support.project_copy import ProjectCopy
from tests.support.whole_machine import Forward

pytestmark = pytest.mark.e2e

_SLOT, _API_PORT = 57, 6443
_SMALL = Path(__file__).with_name("small_requests.yaml")
# What K3s itself makes where it finds NVIDIA's runtime (k3s-io/k3s, manifests/runtimes.yaml); the node has runc alone.
_RUNTIME_CLASS = {
    "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "runc",
}  # fmt: skip


class Behind(Cluster):
    """The cluster behind the fakes: its node has their node's name, GPUs, and the images that it would pull."""

    def __init__(self, node: str) -> None:
        super().__init__("e2e-machine", _SLOT)
        self.plan = self.plan.model_copy(update={"node": node})
        self.layout = Layout("e2e-machine", self.plan)

    def make(self, gpus: int, archives: dict[str, Path]) -> None:
        """It runs, as if it had been there since the fakes' start."""
        self.host("ensure")
        for reference, archive in archives.items():
            self.containerd_import(archive)
            self.tag(f"lab.local/{archive.stem}:1", _without_tag(reference))
        self.kubectl("apply", "--filename", str(_SMALL))
        self.kubectl("apply", "--filename", "-", text=json.dumps(_RUNTIME_CLASS))
        self.offer(gpus)

    def offer(self, gpus: int) -> None:
        """As the kubelet says it of what a device plugin registered (kubernetes.io: "Extended Resources for a
        Node").
        """
        said = {"nvidia.com/gpu": str(gpus)}
        patch = json.dumps({"status": {"capacity": said, "allocatable": said}})
        words = ("patch", "node", self.plan.node, "--subresource=status", "--type=merge", f"--patch={patch}")
        self.kubectl(*words)

    def tag(self, name: str, wanted: str) -> None:
        built = parts.available(self.plan, self.layout.cache)
        assert built
        images.ctr(self.layout, built, "images", "tag", "--force", name, wanted)

    def access(self) -> dict[str, Any]:
        document = yaml.safe_load(self.layout.kubeconfig.read_text())
        return {"cluster": document["clusters"][0]["cluster"], "user": document["users"][0]["user"]}

    def forget(self) -> None:
        self.host("destroy", by_stack=False)
        shutil.rmtree(self.layout.state.parent, ignore_errors=True)


def _answers(port: int) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health").is_success
    return False


def _without_tag(reference: str) -> str:
    """As containerd's CRI names an image that has a tag and a digest."""
    return re.sub(r":[^:@/]+@", "@", reference)


class Box(ProjectCopy):
    """One machine, which is the folder `machine`, and the copy of the project that is driven on it."""

    left_out = ()  # the stack files are what is tested

    def __init__(self, machine: Path, stack: str, behind: Behind, images: dict[str, Path], gpu: GpuMachine) -> None:
        super().__init__(machine / "lab")
        self.machine, self.stack, self.behind, self.images, self.gpu = machine, stack, behind, images, gpu
        self.forwards: list[Forward] = []
        whole_machine.attach_copy(self)
        whole_machine.put_sudo(machine / "bin")
        (machine / "home/.cache").symlink_to(Path.home() / ".cache")

    def make_behind(self) -> None:
        """A new cluster behind the fakes."""
        self.behind.forget()
        self.behind.make(len(self.gpu.state["cards"]), self.images)
        (self.machine / "state/access.json").write_text(json.dumps(self.behind.access()))

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "HOME": str(self.machine / "home"),
            "PATH": f"{self.machine / 'bin'}:{os.environ['PATH']}",
            whole_machine.WHERE: str(self.machine),
            whole_machine.AS_USER: "1000",
        }

    def up(self) -> dict[str, Any]:
        found: dict[str, Any] = self("up", self.stack, "--yes", "--json")
        assert found["ok"], found
        return found

    def await_answer(self, port: int) -> None:
        """Until kube-proxy leads there."""
        end = time.monotonic() + 60
        while not _answers(port):
            assert time.monotonic() < end
            time.sleep(0.5)

    def up_changes_nothing(self) -> None:
        before = self("status", self.stack, "--json")["cluster"]
        assert set(self.up()["summary"]) == {"same"}, before

    def program(self, *words: str) -> None:
        """One of the fakes, as its user would call it."""
        environment = {**os.environ, "HOME": str(self.machine / "home"), "KUBECONFIG": str(self.machine / "own")}
        subprocess.run([self.machine / "bin" / words[0], *words[1:]], env=environment, check=True, capture_output=True)

    def join(self, is_open: Callable[[int], bool], api: list[int], endpoints: list[int]) -> None:
        """The ports of this machine that lead to the node behind, while `is_open` says so."""
        node = self.behind.plan.address
        self.forwards += [Forward(port, (node, _API_PORT), is_open) for port in api]
        self.forwards += [Forward(port, (node, port), is_open) for port in endpoints]

    def called(self) -> str:
        return whole_machine.called(self.machine)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stand-ins for the two images of a GPU machine, as archives: the model server, and the device plugin."""
    made = {}
    for name, words in (("standin", ["program"]), ("plugin", ["program", "bin/sh"])):
        folder = tmp_path_factory.mktemp(name)
        built = go_modules.build(go_modules.GoModule(ROOT / "tests/e2e" / name, {"pause": "."}, "v1"), folder)
        made[name] = folder / f"{name}.tar"
        static_image.write(made[name], f"lab.local/{name}:1", (built / "pause").read_bytes(), words)
    return made


def _images(stack: str, archives: dict[str, Path]) -> dict[str, Path]:
    """Which archive stands for which image of the stack's plan."""
    _, plan = load_plan(ROOT, stack)
    assert plan.nvidia
    return {
        **{model.image: archives["standin"] for model in plan.models},
        plan.nvidia.device_plugin.image: archives["plugin"],
    }


@contextmanager
def _place(folder: Path, target: Path | None = None) -> Iterator[None]:
    """A folder of the machine that the plan names, or a link in its place, for as long as the test runs."""
    if folder.is_symlink():  # of a run that was ended
        folder.unlink()
    if folder.exists():
        pytest.skip(f"this machine has a folder {folder} of its own")
    if target:
        folder.symlink_to(target)
    yield
    if target:
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _made(box: Box) -> Iterator[None]:
    box.make_behind()
    # Pulumi's provider takes the home of ~ from the user database.
    own = Path(names.state_folder(box.stack)).expanduser()
    own.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _place(own, box.machine / "home" / own.relative_to(Path.home())):
            yield
    finally:
        for forward in box.forwards:
            forward.close()
        box.behind.forget()


@pytest.fixture
def laptop(tmp_path: Path, archives: dict[str, Path]) -> Iterator[tuple[Box, minikube_world.World]]:
    """The machine of Pulumi.rtx2060.yaml: WSL2, Docker, minikube; nothing of NVIDIA's but the driver."""
    world = minikube_world.World(tmp_path)
    world.close()
    gpu = gpu_machine.machine(tmp_path, wsl=True)
    gpu.change(card="NVIDIA GeForce RTX 2060 SUPER")
    box = Box(tmp_path, "rtx2060", Behind("local-ai-lab"), _images("rtx2060", archives), gpu)

    def runs(_port: int) -> bool:
        return any(c["State"]["Running"] for c in world.read("docker.json").get("containers", {}).values())

    box.join(runs, [0, 0, 0], [30080])
    (world.state / "ports.json").write_text(json.dumps([forward.port for forward in box.forwards[:3]]))
    with _place(Path(names.MODELS_MOUNT), tmp_path / "home/.local/share/local-ai-lab/models"), _made(box):
        yield box, world


@pytest.fixture
def workstation(tmp_path: Path, archives: dict[str, Path]) -> Iterator[tuple[Box, k3s_world.World]]:
    """The machine of Pulumi.l40.yaml: Debian, four cards, no Docker; nothing of NVIDIA's but the driver."""
    world = k3s_world.World(tmp_path)
    world.close()
    world.at("/usr/bin/nvidia-container-runtime").unlink()
    gpu = gpu_machine.machine(tmp_path, systemd=False)  # the other half of the machine has it
    cards = [f"GPU-5a1f3c52-000{n}-4a6b-9c3d-00000000000{n}" for n in range(1, 5)]
    gpu.change(card="NVIDIA L40", cards=cards, docker=None)
    box = Box(tmp_path, "l40", Behind("local-ai-lab-l40"), _images("l40", archives), gpu)
    box.join(lambda _port: bool(world.service().get("active")), [0], [30080, 30081, 30082])
    (tmp_path / "port").write_text(str(box.forwards[0].port))
    with _place(Path("/var/lib/llm-models")), _made(box):
        yield box, world


MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95"


def test_a_laptop_comes_up_from_nothing_and_comes_back_from_what_happens_to_it(
    laptop: tuple[Box, minikube_world.World],
) -> None:
    box, world = laptop
    profile = "--profile=local-ai-lab"
    assert set(box.up()["summary"]) == {"create"}
    assert_golden("machines/rtx2060-up.txt", box.called())
    box.up_changes_nothing()

    box.program("minikube", "stop", profile)
    assert box("status", box.stack, "--json")["cluster"]["state"] == "stopped"
    assert box.up()["summary"]["update"] == 1, "the bootstrap alone"

    world.say(gpu="lost")  # a systemctl daemon-reload took the devices away from the node
    assert box("status", box.stack, "--json")["cluster"]["state"] == "degraded"
    box.up()
    assert world.read("world.json")["gpu"] == "ok"

    box.program("minikube", "delete", profile)
    box.make_behind()
    made_again = box.up()["summary"]
    assert made_again["create"] > 10, "every object of the cluster"
    box.up_changes_nothing()

    box.gpu.change(driverSays=MISMATCH)  # a driver was updated under running programs
    world.say(gpu="broken")
    box("up", box.stack, "--yes", codes=(1,))
    assert "the node does not see the GPU" in " ".join(box.said.split()), box.said
    box.gpu.change(driverSays="")
    world.say(gpu="ok")
    assert box.up()["summary"]["update"] == 1, "the bootstrap alone"

    box("down", box.stack, "--yes")
    assert not world.read("docker.json")["containers"]
    assert not world.read("docker.json")["volumes"]
    assert not world.config("local-ai-lab").exists()


def _of(model: str) -> str:
    return f"app.kubernetes.io/name={model}"


def test_a_workstation_comes_up_from_nothing_and_comes_back_from_what_happens_to_it(
    workstation: tuple[Box, k3s_world.World],
) -> None:
    box, world = workstation
    world.at("/run/systemd/system").rmdir()
    box("up", box.stack, "--yes", codes=(1,))
    assert "systemd does not run here" in box.said
    assert not (box.machine / "home" / names.state_folder("l40")[2:] / "project").exists(), (
        "nobody owns what is not there"
    )
    assert "apt-get" not in box.called()
    world.at("/run/systemd/system").mkdir()
    (world.state / "log").unlink()

    assert set(box.up()["summary"]) == {"create"}
    assert_golden("machines/l40-up.txt", box.called())
    box.up_changes_nothing()

    world.service(active=False)
    assert box("status", box.stack, "--json")["cluster"]["state"] == "stopped"
    assert box.up()["summary"]["update"] == 1, "the bootstrap alone"

    world.service(active=False)
    shutil.rmtree(world.at("/var/lib/rancher/k3s/server"))
    box.make_behind()
    assert box.up()["summary"]["create"] > 10, "every object of the cluster"
    box.up_changes_nothing()

    box.behind.offer(3)  # a card fell off the bus: its pod ends, and there is no room for the next one
    box.behind.kubectl("delete", "pod", "--namespace", names.namespace("l40"), "--selector", _of("mixtral-8x7b"))
    box("check", box.stack, codes=(1,))
    assert "nvidia.com/gpu" in box.said, box.said
    box.behind.offer(4)
    box.behind.kubectl("rollout", "status", "deployment/mixtral-8x7b", "--namespace", names.namespace("l40"))
    box.await_answer(30081)
    box.up_changes_nothing()

    box("down", box.stack, "--yes")
    assert not world.at("/etc/rancher/k3s").exists()
    assert not world.at("/usr/local/bin/k3s").exists()
