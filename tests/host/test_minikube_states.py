"""Every state in which a profile can be found, with each of ensure, status and destroy; and a kill at every step."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from host.drivers import epoch, ownership
from host.drivers.minikube import driver, is_alive
from host.drivers.ownership import Mark, Owner
from host.system import state
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import HostError
from stacks.plan import canonical
from tests.support.minikube_world import World
from tests.support.stacks import ROOT, plan

STACK = "rtx2060"
PROFILE = "local-ai-lab"


def _as_user(patch: pytest.MonkeyPatch, world: World) -> None:
    """What is run sees this machine, and is not root."""
    patch.setenv("HOME", str(world.home))
    patch.setenv("PATH", f"{world.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
    patch.delenv("MINIKUBE_HOME", raising=False)
    patch.setattr(driver.os, "geteuid", lambda: 1000)


@dataclass(frozen=True)
class Saved:
    """One machine for all cases, with what it was when it had nothing and when it had a whole profile."""

    world: World
    nothing: Path
    whole: Path
    kept: dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    folder = tmp_path_factory.mktemp("machine")
    world = World(folder / "machine")
    world.save(folder / "nothing")
    with pytest.MonkeyPatch.context() as patch:
        _as_user(patch, world)
        driver.ensure(environment())
    world.save(folder / "whole")
    found = world.everything()
    assert list(found["profiles"]) == list(found["containers"]) == [PROFILE]
    assert list(found["marks"]) == ["local-ai-lab-owner"]
    yield Saved(world, folder / "nothing", folder / "whole", found)
    world.close()


@pytest.fixture
def world(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> World:
    saved.world.restore(saved.nothing)
    _as_user(monkeypatch, saved.world)
    return saved.world


def environment(**changes: Any) -> dict[str, str]:
    cluster = plan(STACK).cluster.model_copy(update=changes)
    return {"LAB_STACK": STACK, "LAB_SPEC": canonical(cluster), "LAB_EPOCH": "0"}


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def container(world: World, change: Callable[[dict[str, Any]], Any]) -> None:
    world.edit("docker.json", lambda document: change(document["containers"][PROFILE]))


def recorded(world: World, change: Callable[[dict[str, Any]], Any]) -> None:
    path = world.config(PROFILE)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def forget_the_mark(_world: World) -> None:
    ownership.mark_file("minikube", PROFILE).unlink()
    shutil.rmtree(state.folder(STACK))


def stop(world: World) -> None:
    container(world, lambda c: c.update(State={"Running": False, "Status": "exited"}, NetworkSettings={"Ports": {}}))


def restart_by_hand(world: World) -> None:
    stop(world)
    ports = world.read("ports.json")

    def on(c: dict[str, Any]) -> None:
        c["State"] = {"Running": True, "Status": "running"}
        c["NetworkSettings"] = {"Ports": {"8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(ports[0])}]}}

    world.edit("docker.json", lambda d: d.update(starts=0))
    container(world, on)


def made_by_somebody(world: World) -> None:
    forget_the_mark(world)
    world.edit("cluster.json", lambda d: d.update(config_maps={}))


def made_by_another_stack(world: World) -> None:
    other = world.home / "other"
    other.mkdir()
    (other / "Pulumi.other.yaml").write_text("")
    ownership.write(
        ownership.mark_file("minikube", PROFILE), Mark(Owner("other", str(other), "minikube", PROFILE), complete=True)
    )


def marked_inside_by_another_stack(world: World) -> None:
    other = world.home / "other"
    other.mkdir()
    (other / "Pulumi.other.yaml").write_text("")
    owner = {"stack": "other", "project": str(other), "driver": "minikube", "cluster": PROFILE}
    world.edit("cluster.json", lambda d: d["config_maps"]["local-ai-lab-owner"].update(data=owner))


def made_anew_by_somebody(world: World) -> None:
    container(world, lambda c: c.update(Id="f" * 64))
    world.edit("cluster.json", lambda d: d.update(uid="theirs", config_maps={}))


def remove_the_profile_by_hand(world: World) -> None:
    world.edit("docker.json", lambda d: (d["containers"].clear(), d["volumes"].clear()))
    shutil.rmtree(world.config(PROFILE).parent)


def only_their_container(world: World) -> None:
    forget_the_mark(world)
    shutil.rmtree(world.config(PROFILE).parent)


def nothing(_world: World) -> None:
    pass


def half_made(at: str) -> Callable[[World], None]:
    def make(world: World) -> None:
        world.fail("start", code=137, at=at)
        with pytest.raises(HostError):
            driver.ensure(environment())

    return make


def half_made_with_a_damaged_record(world: World) -> None:
    half_made("config")(world)
    world.config(PROFILE).write_text('{"Name": "local-ai-l')


def half_made_and_broken(world: World) -> None:
    """minikube cannot go on with it; it can be made anew, because it was never whole."""
    half_made("container")(world)
    world.fail("start", code=80, at="before", text="❌  Exiting due to GUEST_START: failed to start node\n")


def half_made_for_another_folder(world: World) -> None:
    half_made("container")(world)
    recorded(world, lambda c: c.update(ContainerVolumeMounts=["/srv/models:/models"]))


def half_removed(at: str) -> Callable[[World], None]:
    def make(world: World) -> None:
        world.fail("delete", code=137, at=at)
        with pytest.raises(HostError):
            driver.destroy(environment())

    return make


# What is done to a whole profile of ours (or, behind "from nothing", to an empty machine).
# ensure: "whole" (as from nothing), "replaced" (whole, and what the state names is gone) or words of the refusal.
# status: its word. destroy: "gone", "nothing" (there was none) or words of the refusal.
STATES: dict[str, tuple[str, Callable[[World], None], str, str, str]] = {
    "absent": ("nothing", nothing, "whole", "absent", "nothing"),
    "running": ("whole", nothing, "whole", "running", "gone"),
    "stopped": ("whole", stop, "whole", "stopped", "gone"),
    "API port changed after a restart": ("whole", restart_by_hand, "whole", "running", "gone"),
    "kubelet dead": ("whole", lambda w: w.say(kubelet="Stopped"), "whole", "degraded", "gone"),
    "node's container gone": (
        "whole",
        lambda w: w.edit("docker.json", lambda d: d["containers"].clear()),
        "whole",
        "stopped",
        "gone",
    ),
    "GPU lost": ("whole", lambda w: w.say(gpu="lost"), "whole", "degraded", "gone"),
    "GPU gone": ("whole", lambda w: w.say(gpu="broken"), "lost its GPU", "degraded", "gone"),
    "kubeconfigs deleted": (
        "whole",
        lambda w: [p.unlink() for p in state.folder(STACK).glob("*kubeconfig")],
        "whole",
        "running",
        "gone",
    ),
    "add-on switched on": (
        "whole",
        lambda w: recorded(w, lambda c: c["Addons"].update({"nvidia-device-plugin": True})),
        "whole",
        "degraded",
        "gone",
    ),
    "other memory": (
        "whole",
        lambda w: container(w, lambda c: c["HostConfig"].update(Memory=2**32)),
        "whole",
        "degraded",
        "gone",
    ),
    "other processors": (
        "whole",
        lambda w: container(w, lambda c: c["HostConfig"].update(NanoCpus=2 * 10**9)),
        "whole",
        "degraded",
        "gone",
    ),
    "older Kubernetes": (
        "whole",
        lambda w: recorded(w, lambda c: c["KubernetesConfig"].update(KubernetesVersion="v1.33.4")),
        "whole",
        "degraded",
        "gone",
    ),
    "much older Kubernetes": (
        "whole",
        lambda w: recorded(w, lambda c: c["KubernetesConfig"].update(KubernetesVersion="v1.31.0")),
        "cannot be reached from it in one step",
        "degraded",
        "gone",
    ),
    "newer Kubernetes": (
        "whole",
        lambda w: recorded(w, lambda c: c["KubernetesConfig"].update(KubernetesVersion="v1.35.1")),
        "cannot be reached from it in one step",
        "degraded",
        "gone",
    ),
    "node image of another minikube": (
        "whole",
        lambda w: recorded(w, lambda c: c.update(KicBaseImage="gcr.io/k8s-minikube/kicbase:v0.0.50@sha256:eb4f")),
        "node image v0.0.50, planned v0.0.48",
        "degraded",
        "gone",
    ),
    "node image from the other registry": (
        "whole",
        lambda w: recorded(w, lambda c: c.update(KicBaseImage="docker.io/kicbase/stable:v0.0.48@sha256:7171")),
        "kept",
        "running",
        "gone",
    ),
    "without GPU": (
        "whole",
        lambda w: (
            recorded(w, lambda c: c.update(GPUs="")),
            container(w, lambda c: c["HostConfig"].update(DeviceRequests=None)),
        ),
        "GPUs none, planned all",
        "degraded",
        "gone",
    ),
    "container without GPU": (
        "whole",
        lambda w: container(w, lambda c: c["HostConfig"].update(DeviceRequests=None)),
        "made without a GPU",
        "degraded",
        "gone",
    ),
    "GPU through CDI": (
        "whole",
        lambda w: recorded(w, lambda c: c.update(GPUs="nvidia.com")),
        "kept",
        "running",
        "gone",
    ),
    "other network": (
        "whole",
        lambda w: recorded(w, lambda c: c["KubernetesConfig"].update(CNI="")),
        "network minikube's own, planned calico",
        "degraded",
        "gone",
    ),
    "other container runtime": (
        "whole",
        lambda w: recorded(w, lambda c: c["KubernetesConfig"].update(ContainerRuntime="containerd")),
        "container runtime containerd, planned docker",
        "degraded",
        "gone",
    ),
    "other driver": (
        "whole",
        lambda w: recorded(w, lambda c: c.update(Driver="kvm2")),
        "driver kvm2, planned docker",
        "degraded",
        "gone",
    ),
    "other folder mounted": (
        "whole",
        lambda w: recorded(w, lambda c: c.update(ContainerVolumeMounts=["/srv/models:/models"])),
        "mounted folder /srv/models:/models, planned",
        "degraded",
        "gone",
    ),
    "folder not mounted": (
        "whole",
        lambda w: container(w, lambda c: c["HostConfig"].update(Binds=[])),
        "does not mount",
        "degraded",
        "gone",
    ),
    "a port not published": (
        "whole",
        lambda w: container(w, lambda c: c["HostConfig"]["PortBindings"].pop("30081/tcp")),
        "ports 30081 are not published",
        "degraded",
        "gone",
    ),
    "minikube's record gone": (
        "whole",
        lambda w: shutil.rmtree(w.config(PROFILE).parent),
        "record of profile local-ai-lab is gone",
        "unknown",
        "gone",
    ),
    "removed by hand": ("whole", remove_the_profile_by_hand, "replaced", "absent", "nothing"),
    "half made, record": ("nothing", half_made("config"), "whole", "stopped", "gone"),
    "half made, container": ("nothing", half_made("container"), "whole", "degraded", "gone"),
    "half made, all but the kubeconfig": ("nothing", half_made("after"), "whole", "degraded", "gone"),
    "half made, damaged record": ("nothing", half_made_with_a_damaged_record, "whole", "unknown", "gone"),
    "half made and broken": ("nothing", half_made_and_broken, "whole", "degraded", "gone"),
    "half made for another folder": (
        "nothing",
        half_made_for_another_folder,
        "half made, and not as it is planned now",
        "degraded",
        "gone",
    ),
    "half removed, container": ("whole", half_removed("container"), "replaced", "stopped", "gone"),
    "half removed, all but the mark": ("whole", half_removed("after"), "replaced", "absent", "gone"),
    "somebody's, running": (
        "whole",
        made_by_somebody,
        "was not made by stack rtx2060",
        "foreign",
        "was not made by stack rtx2060",
    ),
    "somebody's, stopped": (
        "whole",
        lambda w: (made_by_somebody(w), stop(w)),
        "was not made by stack rtx2060",
        "foreign",
        "was not made by stack rtx2060",
    ),
    "somebody's container": (
        "whole",
        only_their_container,
        "a container of Docker called local-ai-lab is there",
        "foreign",
        "nothing",
    ),
    "another stack's": (
        "whole",
        made_by_another_stack,
        "belongs to stack other of",
        "foreign",
        "belongs to stack other of",
    ),
    "another stack's mark inside": (
        "whole",
        marked_inside_by_another_stack,
        "belongs to stack other of",
        "foreign",
        "belongs to stack other of",
    ),
    "replaced by somebody, running": (
        "whole",
        made_anew_by_somebody,
        "replaced by somebody else",
        "foreign",
        "replaced by somebody else",
    ),
    "replaced by somebody, stopped": (
        "whole",
        lambda w: (made_anew_by_somebody(w), stop(w)),
        "cannot say whose it is",
        "foreign",
        "cannot say whose it is",
    ),
}


def prepare(saved: Saved, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    begin, change, *_ = STATES[name]
    if begin == "whole":
        saved.world.restore(saved.whole)
    change(saved.world)
    capsys.readouterr()
    saved.world.forget_calls()


def assert_whole(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    """As from nothing, reachable by the stack's own kubeconfig, marked; and another run changes nothing."""
    world = saved.world
    assert world.everything() == saved.kept
    kubeconfig = Path(names.kubeconfig(STACK)).expanduser()
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    api = KubernetesApi.from_kubeconfig(str(kubeconfig))
    ours = ownership.this_stack(STACK, "minikube", PROFILE)
    assert ownership.read_inside(api) == ours
    mark = ownership.read(ownership.mark_file("minikube", PROFILE))
    identity = world.read("docker.json")["containers"][PROFILE]["Id"]
    assert mark == Mark(ours, complete=True, identity=identity)
    assert is_alive(STACK) and epoch.wanted_epoch(STACK, "minikube") == state.epoch(STACK)
    assert not (world.home / ".kube").exists()  # the user's own
    capsys.readouterr()
    driver.ensure(environment())
    assert said(capsys)["changed"] == []


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_ensure(name: str, world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(saved, name, capsys)
    wanted, before = STATES[name][2], world.everything()
    if wanted == "whole":
        driver.ensure(environment())
        assert_whole(saved, capsys)
    elif wanted == "kept":
        driver.ensure(environment())
        assert said(capsys)["changed"] == []
        assert world.everything() == before
    elif wanted == "replaced":
        with pytest.raises(epoch.ClusterReplaced) as raised:
            driver.ensure(environment())
        assert "./lab up rtx2060" in raised.value.remedy
        epoch.accept_replacement(STACK)
        assert_whole(saved, capsys)
    else:
        with pytest.raises(HostError, match=wanted) as refused:
            driver.ensure(environment())
        assert "lab " in refused.value.remedy or "minikube delete -p local-ai-lab" in refused.value.remedy
        assert "{" not in refused.value.remedy
        assert world.everything() == before


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_status(name: str, world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(saved, name, capsys)
    before = world.everything()
    driver.status(environment())
    found = said(capsys)
    assert found["state"] == STATES[name][3]
    assert bool(found["problems"]) == (found["state"] not in ("running", "absent"))
    assert world.everything() == before
    changing = ("start", "stop", "delete", "addons", "container update")
    assert [c for c in world.calls() if c.split(" ", 1)[1].startswith(changing)] == []


@pytest.mark.long
@pytest.mark.parametrize("name", STATES)
def test_destroy(name: str, world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(saved, name, capsys)
    wanted, before = STATES[name][4], world.everything()
    if wanted in ("gone", "nothing"):
        driver.destroy({**environment(), "LAB_BY_STACK": "1"})
        assert said(capsys)["removed"] == (wanted == "gone")
        if wanted == "gone":
            assert world.everything()["containers"] == world.everything()["profiles"] == {}
            assert world.everything()["volumes"] == []
        else:
            assert world.everything() == before
        assert ownership.read(ownership.mark_file("minikube", PROFILE)) is None
        assert list(state.folder(STACK).glob("*kubeconfig")) == []
        assert epoch.recorded_uid(STACK) is None
        driver.destroy({**environment(), "LAB_BY_STACK": "1"})
        assert said(capsys)["removed"] is False
    else:
        with pytest.raises(HostError, match=wanted) as refused:
            driver.destroy(environment())
        assert refused.value.remedy
        assert world.everything() == before
        assert "minikube delete" not in "\n".join(c.rsplit(" --", 1)[0] for c in world.calls())


def run(world: World, verb: str, at: int) -> subprocess.CompletedProcess[str]:
    """The verb in a process of its own, killed at its point `at`; then no fake works any more."""
    surroundings = {"HOME": str(world.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LAB_BY_STACK": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.support.killed_minikube", str(at), verb],
        env={**surroundings, **environment()},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    world.rest()
    return done


def points(world: World, verb: str) -> int:
    done = run(world, verb, 0)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1].removeprefix("points: "))


@pytest.mark.long
def test_a_profile_is_made_and_removed(world: World, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    driver.ensure(environment())
    assert_whole(saved, capsys)
    driver.destroy(environment())
    assert world.everything()["profiles"] == {}
    assert [call.split(" --", 1)[0] for call in world.calls() if call.startswith("minikube ")][-1] == "minikube delete"


@pytest.mark.long
def test_what_was_shown_is_what_is_done(world: World) -> None:
    """The command of the plan, word for word, and nothing in the home but what the plan names."""
    (shown,) = [c.command for c in plan(STACK).host_changes if c.kind == "cluster"]
    assert shown is not None
    variable, *words = shlex.split(shown.replace("$HOME", str(world.home)))
    driver.ensure(environment())
    assert [call for call in world.calls() if call.startswith("minikube start")] == [shlex.join(words)]
    assert variable == f"KUBECONFIG={world.home}/.local/state/local-ai-lab/stacks/{STACK}/minikube-kubeconfig"
    found = sorted(str(path.relative_to(world.home)) for path in world.home.rglob("*") if path.is_file())
    assert found == [
        ".local/state/local-ai-lab/clusters/minikube-local-ai-lab.json",
        ".local/state/local-ai-lab/clusters/minikube-local-ai-lab.lock",
        f".local/state/local-ai-lab/stacks/{STACK}/cluster.json",
        f".local/state/local-ai-lab/stacks/{STACK}/kubeconfig",
        f".local/state/local-ai-lab/stacks/{STACK}/minikube-kubeconfig",
        ".minikube/profiles/local-ai-lab/config.json",
    ]


def test_the_order_of_all_commands_from_nothing_and_again(world: World) -> None:
    driver.ensure(environment())
    profile, look = "--profile=local-ai-lab", ["docker container inspect local-ai-lab"]
    running = [
        *look,
        f"minikube status {profile} --output=json",
        f"minikube update-context {profile}",
        "docker exec local-ai-lab nvidia-smi -L",
    ]
    begin = ["docker version --format '{{.Server.Version}}'", "minikube version --short"]
    made = [call for call in world.calls() if not call.startswith("minikube start")]
    disabled = f"minikube addons disable nvidia-device-plugin {profile}"
    assert made == [*begin, *look, *running, disabled, *running]
    world.forget_calls()
    driver.ensure(environment())
    assert world.calls() == [*begin, *running]


@pytest.mark.long
def test_a_kill_at_every_step_of_ensure_leaves_what_the_next_one_completes(
    world: World, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    count = points(world, "ensure")
    assert count >= 30
    for at in range(1, count + 1):
        world.restore(saved.nothing)
        assert run(world, "ensure", at).returncode == -9
        driver.ensure(environment())
        assert_whole(saved, capsys)


@pytest.mark.long
def test_a_kill_at_every_step_of_destroy_leaves_what_the_next_one_removes(
    world: World, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    world.restore(saved.whole)
    count = points(world, "destroy")
    assert count >= 15
    for at in range(1, count + 1):
        world.restore(saved.whole)
        assert run(world, "destroy", at).returncode == -9
        driver.destroy({**environment(), "LAB_BY_STACK": "1"})
        found = world.everything()
        assert (found["containers"], found["profiles"], found["volumes"]) == ({}, {}, [])
        assert ownership.read(ownership.mark_file("minikube", PROFILE)) is None
        assert epoch.recorded_uid(STACK) is None


@pytest.mark.long
def test_a_kill_at_every_step_of_destroy_leaves_what_the_next_ensure_makes_anew(
    world: World, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    world.restore(saved.whole)
    for at in range(1, points(world, "destroy") + 1):
        world.restore(saved.whole)
        assert run(world, "destroy", at).returncode == -9
        try:
            driver.ensure(environment())
        except epoch.ClusterReplaced:  # it was gone already, and the record still names it
            epoch.accept_replacement(STACK)
        assert_whole(saved, capsys)
