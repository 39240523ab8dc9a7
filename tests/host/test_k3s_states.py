"""Every state in which K3s can be found, with each of ensure, status and destroy; and a kill at every step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from host.artifacts import releases
from host.drivers import epoch, ownership
from host.drivers.k3s import driver, is_alive, stands, teardown
from host.drivers.ownership import Mark, Owner
from host.system import state
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import HostError
from stacks.plan import K3sPlan, canonical
from tests.support.k3s_world import NODE, World
from tests.support.stacks import ROOT, plan

STACK = "rtx4060"
BINARY, UNIT, CONFIG = "/usr/local/bin/k3s", "/etc/systemd/system/k3s.service", "/etc/rancher/k3s/config.yaml"
CONTAINERD, MARK = "/var/lib/rancher/k3s/agent/etc/containerd", "/var/lib/local-ai-lab/k3s.json"
CLUSTER = "/var/lib/rancher/k3s/server/cluster.json"


def _as_root(patch: pytest.MonkeyPatch, world: World) -> None:
    patch.setenv("HOME", str(world.home))
    patch.setenv("PATH", f"{world.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
    patch.delenv("LAB_CACHE", raising=False)
    patch.setattr(driver.os, "geteuid", lambda: 0)
    patch.setattr(driver, "ROOT", world.root)
    for name in ("obtain", "obtained"):
        patch.setattr(releases, name, lambda *_a, **_k: world.folder / "release")


@dataclass(frozen=True)
class Saved:
    """One machine for all cases, with what it was when it had nothing and when it had a whole K3s."""

    world: World
    nothing: Path
    whole: Path
    before: dict[str, Any]
    kept: dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    folder = tmp_path_factory.mktemp("machine")
    world = World(folder / "machine")
    world.save(folder / "nothing")
    before = world.everything()
    with pytest.MonkeyPatch.context() as patch:
        _as_root(patch, world)
        driver.ensure(environment())
    world.save(folder / "whole")
    yield Saved(world, folder / "nothing", folder / "whole", before, world.everything())
    world.close()


@pytest.fixture
def world(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> World:
    saved.world.restore(saved.nothing)
    _as_root(monkeypatch, saved.world)
    return saved.world


def environment() -> dict[str, str]:
    return {"LAB_STACK": STACK, "LAB_SPEC": canonical(plan(STACK).cluster), "LAB_EPOCH": "0"}


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def without_mark(world: World) -> None:
    world.at(MARK).unlink()
    shutil.rmtree(state.folder(STACK))
    document = json.loads(world.at(CLUSTER).read_text())
    world.at(CLUSTER).write_text(json.dumps({**document, "config_maps": {}}))


def of_another_stack(world: World) -> Owner:
    other = world.home / "other"
    other.mkdir()
    (other / "Pulumi.other.yaml").write_text("")
    return Owner("other", str(other), "k3s", "local-ai-lab-other")


def marked_inside_by_another(world: World) -> None:
    owner = of_another_stack(world)
    document = json.loads(world.at(CLUSTER).read_text())
    document["config_maps"]["local-ai-lab-owner"]["data"] = owner.__dict__
    world.at(CLUSTER).write_text(json.dumps(document))


def half_installed(world: World) -> None:
    ownership.write(world.at(MARK), Mark(ownership.this_stack(STACK, "k3s", NODE)), 0o644)
    world.write("/usr/local/bin/.k3s.99", "half")


def half_removed(world: World) -> None:
    mark = ownership.read(world.at(MARK))
    assert mark
    ownership.write(world.at(MARK), Mark(mark.owner, complete=True, removing=True))
    world.at(UNIT).unlink()
    world.service(active=False, enabled=False)


def without_nvidia(world: World) -> None:
    world.write(f"{CONTAINERD}/config.toml", 'version = 3\n[plugins."io.containerd.cri.v1.runtime"]\n')


def data_lost(world: World) -> None:
    world.service(active=False)
    shutil.rmtree(world.at("/var/lib/rancher/k3s"))


def without_systemd(world: World) -> None:
    shutil.rmtree(world.at("/run/systemd"))


def under_wsl(world: World) -> None:
    without_systemd(world)
    world.write("/proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n")


def version(number: str) -> Callable[[World], Any]:
    def change(world: World) -> None:
        world.shim(world.at(BINARY), f"k3s {number}")
        if world.service().get("active"):
            world.service(runs=["what it was started with by hand"])

    return change


def changed(path: str, text: str) -> Callable[[World], Any]:
    def change(world: World) -> None:
        world.write(path, text, world.at(path).stat().st_mode & 0o777)
        world.service(runs=["what it was started with by hand"])

    return change


FOREIGN = "did not install"
OTHER = "belongs to stack other"
# what it is: from (nothing or whole), how it came so, what ensure ends with, what status says, what destroy ends with
STATES: dict[str, tuple[str, Callable[[World], Any], str, str, str]] = {
    "absent": ("nothing", lambda _: None, "whole", "absent", "absent"),
    "running": ("whole", lambda _: None, "kept", "running", "gone"),
    "stopped": ("whole", lambda w: w.service(active=False), "whole", "stopped", "gone"),
    "not started at boot": ("whole", lambda w: w.service(enabled=False), "whole", "degraded", "gone"),
    "foreign": ("whole", without_mark, FOREIGN, "foreign", FOREIGN),
    "foreign program": ("nothing", version("v1.36.2+k3s1"), FOREIGN, "foreign", FOREIGN),
    "foreign kubelet": ("nothing", lambda w: w.write("/var/lib/kubelet/x", ""), FOREIGN, "foreign", FOREIGN),
    "foreign settings": ("nothing", lambda w: w.write(CONFIG, ""), FOREIGN, "foreign", FOREIGN),
    "foreign agent": (
        "nothing", lambda w: w.write("/etc/systemd/system/k3s-agent.service", ""), FOREIGN, "foreign", FOREIGN,
    ),
    "another stack's": (
        "whole", lambda w: ownership.write(w.at(MARK), Mark(of_another_stack(w))), OTHER, "foreign", OTHER,
    ),
    "another stack's by the mark inside": ("whole", marked_inside_by_another, OTHER, "foreign", OTHER),
    "half installed": ("nothing", half_installed, "whole", "stopped", "gone"),
    "half removed": ("whole", half_removed, "replaced", "stopped", "gone"),
    "an older patch": ("whole", version("v1.36.1+k3s1"), "whole", "degraded", "gone"),
    "an older K3s of the same Kubernetes": ("whole", version("v1.36.2+k3s0"), "whole", "degraded", "gone"),
    "one minor version older": ("whole", version("v1.35.9+k3s2"), "whole", "degraded", "gone"),
    "two minor versions older": ("whole", version("v1.34.1+k3s1"), "more than one minor", "degraded", "gone"),
    "newer": ("whole", version("v1.36.3+k3s1"), "does not go back", "degraded", "gone"),
    "a damaged program": ("whole", lambda w: w.write(BINARY, "#!/bin/false", 0o755), "whole", "degraded", "gone"),
    "configuration changed": ("whole", changed(CONFIG, "disable: []\n"), "whole", "degraded", "gone"),
    "configuration readable": ("whole", lambda w: w.at(CONFIG).chmod(0o644), "whole", "degraded", "gone"),
    "unit changed": ("whole", changed(UNIT, "[Service]\n"), "whole", "degraded", "gone"),
    "without nvidia runtime": ("whole", without_nvidia, "whole", "degraded", "gone"),
    "template left": (
        "whole", lambda w: w.write(f"{CONTAINERD}/config.toml.tmpl", "version = 2\n"), "takes the place", "degraded",
        "gone",
    ),
    "template with base": (
        "whole", lambda w: w.write(f"{CONTAINERD}/config-v3.toml.tmpl", '{{ template "base" . }}\n'), "kept", "running",
        "gone",
    ),
    "toolkit gone": (
        "whole", lambda w: w.at("/usr/bin/nvidia-container-runtime").unlink(), "toolkit is not installed", "degraded",
        "gone",
    ),
    "no systemd": ("nothing", without_systemd, "systemd does not run", "absent", "absent"),
    "WSL without systemd": ("nothing", under_wsl, "systemd does not run", "absent", "absent"),
    "data lost": ("whole", data_lost, "replaced", "stopped", "gone"),
    "kubeconfig lost": (
        "whole", lambda _: Path(names.kubeconfig(STACK)).expanduser().unlink(), "whole", "running", "gone",
    ),
}  # fmt: skip


def prepare(saved: Saved, name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    saved.world.restore(saved.whole if STATES[name][0] == "whole" else saved.nothing)
    STATES[name][1](saved.world)
    capsys.readouterr()
    return saved.world.everything()


def assert_whole(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    """As from nothing, reachable by the stack's own kubeconfig, marked; and another run changes nothing."""
    assert saved.world.everything() == saved.kept
    kubeconfig = Path(names.kubeconfig(STACK)).expanduser()
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    ours = ownership.this_stack(STACK, "k3s", NODE)
    assert ownership.read_inside(KubernetesApi.from_kubeconfig(str(kubeconfig))) == ours
    mark = ownership.read(saved.world.at(MARK))
    assert mark is not None and (mark.owner, mark.complete, mark.removing) == (ours, True, False)
    assert stands(STACK) and not stands("other") and saved.world.at(MARK).stat().st_mode & 0o777 == 0o644
    assert is_alive(STACK) and epoch.wanted_epoch(STACK, "k3s") == state.epoch(STACK)
    capsys.readouterr()
    driver.ensure(environment())
    assert said(capsys)["changed"] == []


def assert_gone(saved: Saved) -> None:
    """Nothing of K3s is left, and nothing else is missing."""
    found, before = saved.world.everything(), saved.before
    theirs = {"proc/77/cmdline", "proc/77/stat", "sys/class/net/eth0", "run/netns/other", "proc/self/mounts"}
    assert found["files"].keys() - theirs == before["files"].keys() - theirs
    made = {"sys/class/net/eth0", "run/netns/other", "proc/77/stat"}
    assert found["files"].keys() >= made or not saved.world.service().get("runs")
    assert "/run/k3sx" in saved.world.at("/proc/self/mounts").read_text() or not saved.world.service().get("runs")
    for rules in found["rules"].values():
        assert rules == "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n"
    assert not (found["service"].get("active") or found["service"].get("enabled") or found["service"].get("loaded"))
    assert not Path(names.kubeconfig(STACK)).expanduser().exists()
    assert epoch.recorded_uid(STACK) is None and not stands(STACK)


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_ensure(name: str, world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    before = prepare(saved, name, capsys)
    wanted = STATES[name][2]
    if wanted == "whole":
        driver.ensure(environment())
        assert said(capsys)["changed"]
        assert_whole(saved, capsys)
    elif wanted == "kept":
        driver.ensure(environment())
        assert said(capsys)["changed"] == []
        assert world.everything() == before
    elif wanted == "replaced":
        with pytest.raises(epoch.ClusterReplaced) as raised:
            driver.ensure(environment())
        assert f"./lab up {STACK}" in raised.value.remedy
        epoch.accept_replacement(STACK)
        assert_whole(saved, capsys)
    else:
        with pytest.raises(HostError, match=wanted) as refused:
            driver.ensure(environment())
        assert "lab " in refused.value.remedy or "driver docker" in refused.value.remedy
        assert world.everything() == before


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_status(name: str, world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    before = prepare(saved, name, capsys)
    driver.status(environment())
    found = said(capsys)
    assert found["state"] == STATES[name][3]
    assert bool(found["problems"]) == (found["state"] not in ("absent", "running"))
    assert world.everything() == before


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_destroy(name: str, world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    before = prepare(saved, name, capsys)
    wanted = STATES[name][4]
    if wanted in ("gone", "absent"):
        if name == "toolkit gone":
            world.write("/usr/bin/nvidia-container-runtime", "")
        driver.destroy({**environment(), "LAB_BY_STACK": "1"})
        assert said(capsys)["removed"] is (wanted == "gone")
        if wanted == "gone":
            assert_gone(saved)
        else:
            assert world.everything() == before
    else:
        with pytest.raises(HostError, match=wanted):
            driver.destroy({**environment(), "LAB_BY_STACK": "1"})
        assert world.everything() == before


def test_the_remedy_under_wsl_is_its_configuration_file(world: World) -> None:
    under_wsl(world)
    with pytest.raises(HostError) as refused:
        driver.ensure(environment())
    assert "/etc/wsl.conf" in refused.value.remedy and "systemd=true" in refused.value.remedy


def test_the_commands_of_a_first_ensure(world: World) -> None:
    driver.ensure(environment())
    changing = [call for call in world.calls() if "is-" not in call and "--version" not in call]
    assert changing == ["systemctl daemon-reload", "systemctl enable k3s", "systemctl start --no-block k3s"]


@pytest.mark.long
def test_nothing_is_deleted_while_the_weights_are_mounted(world: World, saved: Saved) -> None:
    world.restore(saved.whole)
    world.fail("umount", "umount: target is busy.\n")
    with pytest.raises(HostError, match=r"still mounted: .*/var/lib/kubelet/pods/1/volumes/weights"):
        driver.destroy(environment())
    assert world.at("/var/lib/kubelet/pods/1/volumes/weights/weights.safetensors").read_text() == "weights"
    assert world.at(BINARY).exists() and world.at(MARK).exists()
    (world.state / "faults.json").unlink()
    driver.destroy({**environment(), "LAB_BY_STACK": "1"})
    assert_gone(saved)


def test_a_cache_in_k3s_own_folder_stops_the_removal(
    world: World, saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.restore(saved.whole)
    monkeypatch.setenv("LAB_CACHE", str(world.at("/var/lib/rancher/k3s/storage/models")))
    with pytest.raises(HostError, match="nothing was removed"):
        driver.destroy(environment())
    assert world.service()["active"] and world.at(BINARY).exists()


def test_places_that_only_begin_alike_are_not_unmounted(world: World, saved: Saved) -> None:
    world.restore(saved.whole)
    machine = driver.Machine.read(environment(), world.root)
    assert teardown.mounts(machine) == [
        "/var/lib/kubelet/pods/1/volumes/weights",
        "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/a b",
    ]


def run(world: World, verb: str, at: int) -> subprocess.CompletedProcess[str]:
    script = str(Path(ROOT, "tests/support/killed_k3s.py"))
    more = {"PYTHONPATH": str(ROOT), "LAB_BY_STACK": "1"}
    done = subprocess.run(
        [sys.executable, "-P", script, str(world.folder), str(at), verb],
        env={**os.environ, **environment(), **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    world.rest()
    return done


def points(world: World, verb: str) -> int:
    done = run(world, verb, 0)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1].removeprefix("points: "))


@pytest.mark.long
def test_a_kill_at_every_step_of_ensure_leaves_what_the_next_one_completes(
    world: World, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    count = points(world, "ensure")
    assert count >= 20
    for at in range(1, count + 1):
        world.restore(saved.nothing)
        assert run(world, "ensure", at).returncode == -9
        driver.ensure(environment())
        assert_whole(saved, capsys)


@pytest.mark.long
def test_a_kill_at_every_step_of_a_repair_leaves_what_the_next_one_completes(
    world: World, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil() -> None:
        world.restore(saved.whole)
        changed(CONFIG, "disable: []\n")(world)
        changed(UNIT, "[Service]\n")(world)
        version("v1.36.1+k3s1")(world)

    spoil()
    count = points(world, "ensure")
    assert count >= 20
    for at in range(1, count + 1):
        spoil()
        assert run(world, "ensure", at).returncode == -9
        driver.ensure(environment())
        assert_whole(saved, capsys)


@pytest.mark.long
def test_a_kill_at_every_step_of_destroy_leaves_what_the_next_one_removes(world: World, saved: Saved) -> None:
    world.restore(saved.whole)
    count = points(world, "destroy")
    assert count >= 40
    for at in range(1, count + 1):
        world.restore(saved.whole)
        assert run(world, "destroy", at).returncode == -9
        driver.destroy({**environment(), "LAB_BY_STACK": "1"})
        assert_gone(saved)


@pytest.mark.parametrize("verb", ["ensure", "destroy"])
def test_another_user_becomes_root_with_home_and_ids_kept(
    verb: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Became(Exception):
        pass

    def become(words: list[str]) -> None:
        raise Became(words)

    monkeypatch.setattr(driver.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(driver.os, "getuid", lambda: 1000)
    monkeypatch.setattr(driver.os, "getgid", lambda: 1001)
    monkeypatch.setattr("host.system.command.become_root", become)
    with pytest.raises(Became) as became:
        getattr(driver, verb)(environment())
    words = became.value.args[0]
    assert {f"HOME={world.home}", "LAB_OWNER_UID=1000", "LAB_OWNER_GID=1001", "LAB_EPOCH=0"} <= set(words)
    assert words[0] == "env" and words[-4:] == ["-m", "host", "k3s", verb]
    assert not world.calls()


def test_what_lies_in_the_callers_home_becomes_the_callers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given: set[Path] = set()
    monkeypatch.setenv("LAB_OWNER_UID", "4711")
    monkeypatch.setenv("LAB_OWNER_GID", "4712")
    monkeypatch.setattr(driver.os, "chown", lambda path, uid, gid: given.add(path) if (uid, gid) == (4711, 4712) else 1)
    driver.ensure(environment())
    folder = state.folder(STACK)
    assert given == {folder, folder / "cluster.json", Path(names.kubeconfig(STACK)).expanduser()}


def _without_systemd(world: World) -> None:
    world.at("/run/systemd/system").rmdir()


def _foreign(world: World) -> None:
    world.write(BINARY, "another")


def _drop_in(world: World) -> None:
    world.write("/etc/rancher/k3s/config.yaml.d/own.yaml", "{}")
    ownership.write(world.at(MARK), Mark(ownership.this_stack(STACK, "k3s", NODE)), 0o644)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (_without_systemd, "systemd does not run here"),
        (_foreign, "which the lab did not install"),
        (_drop_in, "told something else"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_fetched_or_made(
    world: World, monkeypatch: pytest.MonkeyPatch, what: Callable[[World], None], why: str
) -> None:
    what(world)
    before = world.everything()
    monkeypatch.setattr(releases, "obtain", lambda *_a, **_k: pytest.fail("nothing is fetched"))
    cluster = plan(STACK).cluster
    assert isinstance(cluster, K3sPlan)
    with pytest.raises(HostError, match=why):
        driver.prepare(STACK, cluster)
    assert world.everything() == before


def test_a_machine_without_the_toolkit_is_not_refused_early_since_up_installs_it(world: World) -> None:
    world.at("/usr/bin/nvidia-container-runtime").unlink()
    cluster = plan(STACK).cluster
    assert isinstance(cluster, K3sPlan)
    (fetch,) = driver.prepare(STACK, cluster)
    assert fetch() == world.folder / "release/k3s"
