"""Consent, driver by driver: without it nothing on the machine changes, and what was done is what was listed."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import yaml

from cli.commands import up
from cli.pulumi.events import Outcome
from components.rendered import commands
from host import __main__ as host
from host.artifacts import pulumi, releases
from host.artifacts.pulumi import Pulumi
from host.system.files import write_atomic
from stacks.errors import LabError
from stacks.plan import HostChange, Plan
from tests.support import gpu_machine, k3s_world, minikube_world, whole_machine
from tests.support.fake_docker import FakeDocker, served
from tests.support.stacks import ROOT

if TYPE_CHECKING:
    from cli.deployed import Deployed
    from cli.pulumi.workspace import Workspace

State = Mapping[str, Any]
CACHE = "home/.cache/local-ai-lab"
_EMPTY = "an empty folder"
LIST, KEY = "file /etc/apt/sources.list.d/nvidia-container-toolkit.list", "file /usr/share/keyrings/nvidia-*.gpg"

# What an entry says -> the changes that it stands for; a path of its own words stands for itself and all below it.
WORDS: dict[str, tuple[str, ...]] = {
    "Pulumi's CLI": (f"file ~/{CACHE[5:]}/pulumi/*",),
    "NVIDIA container toolkit": ("package nvidia-container-toolkit*", "package libnvidia-container*", LIST, KEY,
        "file /usr/bin/nvidia-container-runtime"),
    "nvidia-cdi-refresh": ("unit nvidia-cdi-refresh.*",),
    "Docker restarts": ("docker runtimes", "docker hook"),
    "the file before it is kept": ("file /etc/docker/daemon.json.before-local-ai-lab",),
    "K3s v1.36.2+k3s1 into the cache": (f"file ~/{CACHE[5:]}/releases/k3s/*",),
    "the service k3s": ("unit k3s *",),
    "the links cni0, flannel.1 and veth*": ("link cni0", "link flannel.1", "link veth*"),
    "network namespaces cni-*": ("file /run/netns/cni-*",),
    "rules of iptables": ("rules ip*tables",),
    "minikube 1.37.0 into the cache": (f"file ~/{CACHE[5:]}/releases/minikube/*",),
    "minikube profile local-ai-lab": (
        "container local-ai-lab", "volume local-ai-lab", "file ~/.minikube/profiles/local-ai-lab/*"),
    "Docker pulls docker.io/vllm": ("image docker.io/vllm/vllm-openai:*",),
    "Docker's bridge network local-ai-lab-docker-h20": ("network local-ai-lab-docker-h20",),
    "1 container and scratch volume local-ai-lab-docker-h20-*": (
        "container local-ai-lab-docker-h20-*", "volume local-ai-lab-docker-h20-*"),
    "GiB of weights": ("file /models/*/config.json",),
}  # fmt: skip


class Box:
    """One machine below `folder`: `root` and `home` are its files, and `look` what else its programs keep."""

    def __init__(self, folder: Path, stack: str, user: str, look: Callable[[], State]) -> None:
        self.folder, self.stack, self.user, self._look = folder, stack, user, look
        self.project = folder / "lab"
        self.project.mkdir()
        (self.project / "Pulumi.yaml").write_bytes((ROOT / "Pulumi.yaml").read_bytes())
        document = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())
        document["config"]["local-ai-lab:modelCache"] = {"path": str(folder / "root/models")}
        (self.project / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(document))

    def state(self) -> dict[str, Any]:
        """Every file, empty folder, package, unit, network link and thing in Docker: what it is called -> what it is.
        The locks and processes of the moment are left out.
        """
        found: dict[str, Any] = dict(self._look())
        gpu = json.loads((self.folder / "state.json").read_text())
        for kind, things in (("package", gpu["packages"]), ("unit", gpu["units"]), ("docker", gpu["docker"] or {})):
            found |= {f"{kind} {name}": value for name, value in things.items()}
        for top, shown in (("root", ""), ("home", "~")):
            for path in (self.folder / top).rglob("*"):
                name = str(path.relative_to(self.folder / top))
                if name.startswith("sys/class/net/"):
                    found[f"link {name.split('/')[3]}"] = True
                elif not name.startswith(("proc/", "run/lock/")) and not name.endswith(".lock"):
                    if path.is_file():
                        found[f"file {shown}/{name}"] = (path.stat().st_mode, path.read_bytes())
                    elif not any(path.iterdir()):
                        found[f"file {shown}/{name}"] = _EMPTY
        return found

    def up(self, *, yes: bool) -> None:
        up.run(self.project, self.stack, yes=yes, as_json=True)

    def apply(self, plan: Plan) -> None:
        """The Commands of the plan that change the machine, in the order of a first run, as Pulumi would run them."""
        for command in commands(plan).values():
            _, _, module, *words = command.runs.split()
            if module != "host":
                continue
            os.environ |= {**command.environment, whole_machine.AS_USER: "0" if words[0] == "nvidia" else self.user}
            said = io.StringIO()
            with redirect_stdout(said):
                assert host.main(words) == 0, words


def _machine(folder: Path, **more: Any) -> gpu_machine.GpuMachine:
    """With a driver and nothing else of NVIDIA's."""
    gpu = gpu_machine.machine(folder, wsl=more.pop("wsl", False), systemd=more.pop("systemd", True))
    gpu.change(**more)
    (folder / "home").mkdir(exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "state").mkdir(exist_ok=True)
    return gpu


def _k3s(folder: Path) -> Iterator[Box]:
    world = k3s_world.World(folder)
    world.at("/usr/bin/nvidia-container-runtime").unlink()
    world.at("/sys/class/net/eth0").mkdir()
    world.write("/run/netns/other", "")
    _machine(folder, systemd=False, docker=None)  # the other half of the machine has it

    def look() -> State:
        rules = {f"rules {n}": (world.state / n).read_text() for n in ("iptables", "ip6tables")
                 if (world.state / n).exists()}  # fmt: skip
        return {**rules, **{f"unit k3s {name}": value for name, value in world.service().items()}}

    yield Box(folder, "rtx4060", "0", look)
    world.close()


def _minikube(folder: Path) -> Iterator[Box]:
    world = minikube_world.World(folder)
    _machine(folder, wsl=True).file("etc/docker/daemon.json", '{"log-opts": {"max-size": "50m"}}')
    (folder / "release").mkdir()
    (world.bin / "minikube").rename(folder / "release/minikube-linux-amd64")

    def look() -> State:
        docker = world.read("docker.json")
        return {f"{kind[:-1]} {n}": v for kind in ("containers", "volumes") for n, v in docker.get(kind, {}).items()}

    yield Box(folder, "rtx2060", "1000", look)
    world.close()


def _docker(folder: Path) -> Iterator[Box]:
    gpu = _machine(folder)
    gpu.file("etc/nvidia-container-runtime/config.toml", 'mode = "legacy"\n')  # so that links in /dev/char matter
    engine = FakeDocker()
    box = Box(folder, "docker-h20", "1000", lambda: {
        f"{kind[:-1]} {name}": thing for kind, things in engine.snapshot().items() for name, thing in things.items()
    })  # fmt: skip
    engine.pullable = tuple(m.image for m in up.deployed(box.project, box.stack).plan.models)
    with served(engine, folder / "s") as address:
        os.environ["DOCKER_HOST"] = address
        yield box
    assert engine.refused == []


DRIVERS = {"k3s": _k3s, "minikube": _minikube, "docker": _docker}


@pytest.fixture
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("m")
    with mock.patch.dict(os.environ, {
        "HOME": str(folder / "home"), "PATH": f"{folder / 'bin'}:/usr/bin:/bin", whole_machine.WHERE: str(folder),
        whole_machine.AS_USER: "1000",
    }):  # fmt: skip
        for name in ("LAB_CACHE", "MINIKUBE_HOME", "DOCKER_HOST", "LAB_OWNER_UID"):
            os.environ.pop(name, None)
        with contextmanager(DRIVERS[request.param])(folder) as found:
            whole_machine.attach(monkeypatch.setattr)
            _stand_in(found, monkeypatch)
            yield found


def _stand_in(box: Box, patch: pytest.MonkeyPatch) -> None:
    """Downloads go into the cache from the machine's folder, and the plan's Commands run without Pulumi."""
    cache = box.folder / CACHE

    def get(_cache: Path, _plugins: object) -> Pulumi:
        write_atomic(cache / "pulumi/pulumi", "")
        return Pulumi(cache / "pulumi/pulumi", None, "3.300.0", "release")

    def obtain(name: str, version: str, *_more: object, **_named: object) -> Path:
        place = cache / "releases" / name / version
        shutil.copytree(box.folder / "release", place, dirs_exist_ok=True)
        return place

    def obtained(name: str, version: str, _cache: Path) -> Path | None:
        place = cache / "releases" / name / version
        return place if place.exists() else None

    def apply(target: Deployed, workspace: Workspace, *, quiet: bool) -> Outcome:
        assert quiet
        workspace.environment()  # makes the backend's folder and the passphrase, as each call of the CLI does
        box.apply(target.plan)
        return Outcome()

    for place, name, value in (
        (pulumi, "get", get), (releases, "obtain", obtain), (releases, "obtained", obtained), (up, "_apply", apply),
        (up, "check_all", lambda *_a, **_n: []), (up, "learn_from_running", lambda _target: {}),
        (sys, "stdin", io.StringIO()),
    ):  # fmt: skip
        patch.setattr(place, name, value)


def changed(before: State, after: State) -> set[str]:
    """What is new, gone or another; a folder that was empty is told by what lies in it now."""
    names = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return names - {name for name, value in before.items() if value == _EMPTY and name not in after}


def stands_for(change: str, entry: HostChange, box: Box) -> bool:
    """Whether the entry's text names the change."""
    text = f"{entry.what} {entry.command} {entry.note}".replace(str(box.folder / "root"), "")
    if change.startswith("file "):
        path = change.removeprefix("file ")
        places = re.findall(r"(?:~|(?<![\w.]))/[\w./~-]+\w", text)
        if any(path == place or path.startswith(f"{place}/") for place in places):
            return True
    return any(phrase in text and fnmatch(change, pattern) for phrase, ps in WORDS.items() for pattern in ps)


@pytest.mark.parametrize("box", DRIVERS, indirect=True)
def test_what_was_done_is_what_was_listed_and_without_consent_nothing_is(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = up.deployed(box.project, box.stack).plan.host_changes
    before = box.state()
    with pytest.raises(LabError) as refused:
        box.up(yes=False)
    assert "nobody can be asked here" in refused.value.message
    assert refused.value.exit_code == 2
    shown = "".join(capsys.readouterr().err.split())
    assert all("".join(words.split()) in shown for entry in listed for words in (entry.what, entry.note or ""))
    assert box.state() == before

    box.up(yes=True)
    done = changed(before, box.state())
    unnamed = sorted(change for change in done if not any(stands_for(change, entry, box) for entry in listed))
    assert unnamed == [], "done, and not listed"
    idle = [e.what for e in listed if not any(stands_for(change, e, box) for change in done)]
    assert idle == [e.what for e in listed if (e.note or "").startswith("yours to do")], "listed, and not done"
