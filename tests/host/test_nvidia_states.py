"""The machine's NVIDIA layers in every state x ensure, status, destroy; kill -9 at every point of every ensure."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from host.drivers.nvidia import docker, driver, openpgp
from host.system import command
from stacks.errors import HostError
from stacks.plan import HostChange, NvidiaHostPlan, canonical
from stacks.planning.gpus import host as planning
from tests.support.gpu_machine import KEY, UUIDS, GpuMachine, attach, machine

FINGERPRINT = "5AD49CAD7F0D1E2EA01D67F583FD061B3C765608"  # as gpg 2.2.40 prints it
LIST = "etc/apt/sources.list.d/nvidia-container-toolkit.list"
REPOSITORY = "https://nvidia.github.io/libnvidia-container"
OWN_LIST = f"deb [signed-by=/usr/share/keyrings/mine.gpg] {REPOSITORY}/stable/deb/amd64 /\n"
DAEMON = "etc/docker/daemon.json"
NVIDIA = {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}
RULE = "etc/udev/rules.d/71-nvidia-dev-char.rules"


def plan(runtime: str = "docker", platform: str = "linux", **parts: Any) -> NvidiaHostPlan:
    return NvidiaHostPlan.model_validate(
        {
            "runtime": runtime, "platform": platform, "gpus": 1, "least_driver": 580, "toolkit": "1.19.1",
            "toolkit_least": "1.17.8", "toolkit_key": FINGERPRINT,
            "steps": planning.STEPS[runtime, platform],  # type: ignore[index]
            **parts,
        }
    )  # fmt: skip


def own_list(found: GpuMachine) -> None:
    """What NVIDIA's guide, or the owner, set up before us."""
    found.file(LIST, OWN_LIST)
    found.file("usr/share/keyrings/mine.gpg", "their key")


def specification(found: GpuMachine, *uuids: str) -> None:
    names = [*map(str, range(len(uuids))), *uuids, "all"]
    found.file("var/run/cdi/nvidia.yaml", "".join(f"nvidia.com/gpu={name}\n" for name in names))


def right(folder: Path, toolkit: str = "1.19.1") -> GpuMachine:
    found = machine(folder, toolkit=toolkit)
    own_list(found)
    found.file(DAEMON, json.dumps(NVIDIA))
    found.change(docker={"runtimes": ["io.containerd.runc.v2", "nvidia", "runc"], "hook": True})
    specification(found, UUIDS[0])
    return found


def toolkit_old(folder: Path) -> GpuMachine:
    found = right(folder, toolkit="1.16.2")
    found.change(available=["1.16.2-1", "1.19.1-1"])
    return found


def toolkit_gone(folder: Path) -> GpuMachine:
    """Docker still lists the runtime; a daemon that runs does not know the new toolkit's hook."""
    found = machine(folder)
    own_list(found)
    found.file(DAEMON, json.dumps(NVIDIA))
    found.change(docker={"runtimes": ["io.containerd.runc.v2", "nvidia", "runc"]})
    return found


def toolkit_half(folder: Path) -> GpuMachine:
    found = right(folder)
    found.change(packages={"libnvidia-container1": {"status": "iU", "version": "1.19.1-1"}})
    return found


def not_registered(folder: Path) -> GpuMachine:
    found = right(folder)
    found.file(DAEMON, '{"log-opts": {"max-size": "50m"}, "features": {"containerd-snapshotter": true}}')
    found.change(docker={"runtimes": ["io.containerd.runc.v2", "runc"]})
    return found


def not_restarted(folder: Path) -> GpuMachine:
    found = right(folder)
    found.change(docker={"runtimes": ["io.containerd.runc.v2", "runc"], "hook": False})
    return found


def wrong_path(folder: Path) -> GpuMachine:
    found = right(folder)
    gone = {"path": "/usr/local/nvidia/toolkit/nvidia-container-runtime"}
    found.file(DAEMON, json.dumps({"runtimes": {"nvidia": gone, "crun": {"path": "crun"}}}))
    return found


def no_specification(folder: Path) -> GpuMachine:
    found = right(folder)
    (found.root / "var/run/cdi/nvidia.yaml").unlink()
    return found


def stale_specification(folder: Path) -> GpuMachine:
    found = right(folder)
    found.change(cards=list(UUIDS))
    return found


def refresh_off(folder: Path) -> GpuMachine:
    found = right(folder)
    found.change(units={"nvidia-cdi-refresh.path": "disabled", "nvidia-cdi-refresh.service": "disabled"})
    return found


def no_systemd(folder: Path) -> GpuMachine:
    found = machine(folder, wsl=True, systemd=False)
    found.file("etc/init.d/docker", "#!/bin/sh\n")
    return found


def no_links(folder: Path) -> GpuMachine:
    return right(folder, toolkit="1.17.8")


def no_rule(folder: Path) -> GpuMachine:
    found = right(folder, toolkit="1.17.8")
    found.file("dev/char/195:0")
    return found


STATES: dict[str, Callable[[Path], GpuMachine]] = {
    "nothing there": machine,
    "toolkit old": toolkit_old,
    "toolkit gone, its runtime registered": toolkit_gone,
    "toolkit half installed": toolkit_half,
    "runtime not registered": not_registered,
    "runtime registered, Docker not restarted": not_restarted,
    "runtime names a program that is gone": wrong_path,
    "no CDI specification": no_specification,
    "CDI specification of before the second card": stale_specification,
    "CDI refresh switched off": refresh_off,
    "an older toolkit without links": no_links,
    "an older toolkit with links until the next start": no_rule,
    "all right": right,
}
"""Where a run begins, on Linux with Docker."""


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    answer = httpx.Response(200, text=KEY, request=httpx.Request("GET", "https://nvidia.github.io"))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: answer)
    monkeypatch.setattr(docker.time, "sleep", lambda _: None)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., GpuMachine]]:
    def put(make: Callable[[Path], GpuMachine], **parts: Any) -> GpuMachine:
        found = make(tmp_path / "machine")
        found.change(**parts)
        monkeypatch.setattr(driver, "ROOT", found.root)
        attach(found, monkeypatch.setattr)
        return found

    yield put


def environment(wanted: NvidiaHostPlan) -> dict[str, str]:
    return {"LAB_STACK": "box", "LAB_SPEC": canonical(wanted)}


def ensured(capsys: pytest.CaptureFixture[str], wanted: NvidiaHostPlan | None = None) -> dict[str, Any]:
    driver.ensure(environment(wanted or plan()))
    return json.loads(capsys.readouterr().out.splitlines()[-1])  # type: ignore[no-any-return]


def assert_ready(found: GpuMachine, *, specified: bool = True) -> None:
    """What every state must come to, layer by layer."""
    state = found.state
    assert {p["status"] for p in state["packages"].values()} == {"ii"} and len(state["packages"]) == 4
    assert len({p["version"] for p in state["packages"].values()}) == 1
    assert "nvidia" in state["docker"]["runtimes"] and state["docker"]["running"] and state["docker"]["hook"]
    assert json.loads((found.root / DAEMON).read_text())["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    if specified:
        devices = (found.root / "var/run/cdi/nvidia.yaml").read_text()
        assert all(f"nvidia.com/gpu={card}\n" in devices for card in state["cards"])
    record = found.root / "var/lib/local-ai-lab/nvidia.json"
    assert not record.exists() or json.loads(record.read_text())["pending"] == []


@pytest.mark.parametrize("name", STATES)
def test_ensure_ends_ready_and_a_second_one_changes_nothing(
    name: str, at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(STATES[name])
    first = ensured(capsys)
    assert bool(first["changed"]) is (name != "all right")
    assert_ready(found)
    before = found.snapshot()
    assert ensured(capsys)["changed"] == []
    assert found.snapshot() == before


@pytest.mark.parametrize("name", STATES)
def test_status_and_destroy_change_nothing(
    name: str, at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(STATES[name])
    before = found.snapshot()
    driver.status(environment(plan()))
    said = json.loads(capsys.readouterr().out)
    assert (said["state"] == "ready") is (name == "all right"), said
    assert bool(said["needed"]) is (name != "all right")
    driver.destroy(environment(plan()))
    assert json.loads(capsys.readouterr().out)["removed"] == []
    assert found.snapshot() == before


def test_destroy_after_ensure_leaves_all_and_says_how_it_is_undone(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(machine)
    ensured(capsys)
    before = found.snapshot()
    driver.destroy(environment(plan()))
    said = json.loads(capsys.readouterr().out)
    assert said["kept"] == ["/etc/apt/sources.list.d/nvidia-container-toolkit.list", "/etc/docker/daemon.json",
                            "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"]  # fmt: skip
    assert "apt-get remove" in said["undo"]["toolkit"] and "daemon.json" in said["undo"]["docker"]
    assert found.snapshot() == before


# refusals: state -> (change, words of the message, words of the remedy)
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no driver": ({"driver": None}, "no NVIDIA driver", "apt-get install nvidia-driver"),
    "driver not loaded": (
        {"driverSays": "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."}, "not loaded",
        "reboot",
    ),
    "driver updated without a reboot": (
        {"driverSays": "Failed to initialize NVML: Driver/library version mismatch"}, "old kernel module", "reboot",
    ),
    "driver old": ({"driver": "550.54.14"}, "550.54.14, and the engine's image needs 580", "NVIDIA's repository"),
    "card missing": ({"cards": []}, "finds no card", "dmesg"),
    "no Docker": ({"docker": None}, "Docker is not installed", "docs.docker.com"),
    "Docker stopped": ({"docker": {"running": False}}, "does not run", "systemctl start docker"),
    "Docker old": ({"docker": {"version": "19.03.5"}}, "needs 20.10", "newer Docker"),
    "rootless Docker": ({"docker": {"security": ["name=rootless"]}}, "rootless", "docker context use default"),
    "Docker Desktop without WSL": ({"docker": {"system": "Docker Desktop"}}, "virtual machine", "docker context"),
    "containers that would stop": ({"docker": {"containers": ["db", "web"]}}, "stops the running containers db, web",
                                   "docker stop db web"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_comes_before_any_change_and_says_what_to_type(name: str, at: Callable[..., GpuMachine]) -> None:
    change, words, remedy = REFUSED[name]
    found = at(machine, **change)
    before = found.snapshot()
    with pytest.raises(HostError) as raised:
        driver.ensure(environment(plan()))
    assert words in raised.value.message and remedy in raised.value.remedy
    assert found.snapshot() == before


# while packages are installed: what apt says -> words of the message, words of the remedy
APT: dict[str, tuple[str, str, str]] = {
    "held": ("E: Held packages were changed and -y was used without --allow-change-held-packages", "held", "unhold"),
    "locked": ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 8", "at this moment", "wait"),
    "interrupted": ("E: dpkg was interrupted, you must manually run 'sudo dpkg --configure -a'", "was killed", "dpkg"),
    "two lists": ("E: Conflicting values set for option Signed-By regarding source https://nv", "two lists", "remove"),
    "offline": ("Err:1 https://nvidia.github.io Temporary failure resolving 'nvidia'", "ended with 100", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", APT)
def test_what_apt_refuses_is_explained_and_the_next_run_goes_on(
    name: str, at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    says, words, remedy = APT[name]
    found = at(machine, aptSays=says)
    with pytest.raises(HostError) as raised:
        driver.ensure(environment(plan()))
    assert words in raised.value.message and remedy in raised.value.remedy
    found.change(aptSays="")
    ensured(capsys)
    assert_ready(found)


def test_two_lists_with_different_keys_are_refused_by_apt_itself(at: Callable[..., GpuMachine]) -> None:
    found = at(toolkit_old)
    found.file("etc/apt/sources.list.d/libnvidia-container.list", OWN_LIST.replace("mine", "older"))
    with pytest.raises(HostError, match="two lists of apt name NVIDIA's repository with different keys"):
        driver.ensure(environment(plan()))


def test_a_list_that_is_there_is_used_and_nothing_is_added(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = at(toolkit_old)
    monkeypatch.setattr(httpx, "get", lambda *_, **__: pytest.fail("no key is needed"))
    ensured(capsys)
    assert (found.root / LIST).read_text() == OWN_LIST
    assert not (found.root / "usr/share/keyrings/nvidia-container-toolkit-keyring.gpg").exists()


def test_the_key_is_pinned_and_its_binary_form_is_what_apt_gets(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(machine)
    ensured(capsys)
    keyring = (found.root / "usr/share/keyrings/nvidia-container-toolkit-keyring.gpg").read_bytes()
    assert openpgp.fingerprints(keyring) == [FINGERPRINT]
    assert (found.root / LIST).read_text() == (
        "deb [signed-by=/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg] "
        "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH) /\n"
    )


@pytest.mark.parametrize("text", [KEY.replace("mQENBG", "mQENBH"), "<html>blocked by policy</html>", KEY[:400]])
def test_another_key_installs_nothing(
    text: str, at: Callable[..., GpuMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = at(machine)
    answer = httpx.Response(200, text=text, request=httpx.Request("GET", "https://nvidia.github.io"))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: answer)
    with pytest.raises(HostError, match="is expected: nothing was installed"):
        driver.ensure(environment(plan()))
    assert found.state["packages"] == {} and not (found.root / LIST).exists()


def test_no_network_says_so(at: Callable[..., GpuMachine], monkeypatch: pytest.MonkeyPatch) -> None:
    at(machine)

    def unreachable(*_: Any, **__: Any) -> None:
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr(httpx, "get", unreachable)
    with pytest.raises(HostError, match="gpgkey cannot be had") as raised:
        driver.ensure(environment(plan()))
    assert "HTTPS_PROXY" in raised.value.remedy


def test_a_file_of_others_in_the_place_of_ours_stays(at: Callable[..., GpuMachine]) -> None:
    found = at(machine)
    found.file(LIST, "# switched off by the owner\n")
    with pytest.raises(HostError, match="was not made by the lab"):
        driver.ensure(environment(plan()))
    assert (found.root / LIST).read_text() == "# switched off by the owner\n"


def test_dockers_other_settings_stay_and_the_file_before_is_kept(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(not_registered)
    before = (found.root / DAEMON).read_text()
    ensured(capsys)
    after = json.loads((found.root / DAEMON).read_text())
    assert after == {**json.loads(before), **NVIDIA}
    assert (found.root / f"{DAEMON}.before-local-ai-lab").read_text() == before


def test_a_configuration_that_is_no_json_is_left_alone(at: Callable[..., GpuMachine]) -> None:
    found = at(not_registered)
    found.file(DAEMON, '{"log-opts": }')
    with pytest.raises(HostError, match="cannot be read") as raised:
        driver.ensure(environment(plan()))
    assert (found.root / DAEMON).read_text() == '{"log-opts": }' and "json.tool" in raised.value.remedy


def test_where_docker_does_not_come_back_it_has_its_old_configuration(at: Callable[..., GpuMachine]) -> None:
    found = at(not_registered, docker={"refuses": True})
    before = (found.root / DAEMON).read_text()
    with pytest.raises(HostError, match="Docker does not start with the NVIDIA runtime"):
        driver.ensure(environment(plan()))
    assert (found.root / DAEMON).read_text() == before
    assert found.state["docker"]["running"]


def test_containers_that_were_agreed_to_stop_are_stopped_once(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = at(not_registered, docker={"containers": ["db"]})
    accepted = tmp_path / "home/.local/state/local-ai-lab/stacks/box/accepted-restart"
    accepted.parent.mkdir(parents=True)
    accepted.write_text('["db"]')
    assert "docker restarted" in ensured(capsys)["changed"]
    found.change(docker={"containers": ["db", "new"]})
    assert ensured(capsys)["changed"] == []  # nothing to restart: nobody is asked about the new one


def test_under_wsl2_there_is_one_device_and_there_are_no_links(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(lambda folder: machine(folder, wsl=True))
    ensured(capsys, plan(platform="wsl2"))
    assert_ready(found, specified=False)
    assert (found.root / "var/run/cdi/nvidia.yaml").read_text() == "nvidia.com/gpu=all\n"
    assert not (found.root / RULE).exists()
    assert ensured(capsys, plan(platform="wsl2"))["changed"] == []


def test_docker_desktop_is_only_looked_at(at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]) -> None:
    found = at(lambda folder: machine(folder, wsl=True), docker={"system": "Docker Desktop", "containers": ["db"]})
    before = found.snapshot()
    assert ensured(capsys, plan(platform="wsl2"))["changed"] == []
    assert found.snapshot() == before


def test_for_k3s_the_toolkit_and_nothing_else(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(machine, docker=None)
    assert ensured(capsys, plan("k3s"))["changed"][-1] == "nvidia-container-toolkit 1.19.1"
    assert not (found.root / DAEMON).exists()
    assert json.loads((found.root / "var/lib/local-ai-lab/nvidia.json").read_text())["pending"] == []
    assert ensured(capsys, plan("k3s"))["changed"] == []


def test_fedora_has_its_own_list_and_key(at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]) -> None:
    found = at(machine, without=["apt-get", "dpkg", "dpkg-query"])
    found.file("etc/os-release", 'ID=rocky\nID_LIKE="rhel centos fedora"\n')
    ensured(capsys)
    assert_ready(found)
    repo = (found.root / "etc/yum.repos.d/nvidia-container-toolkit.repo").read_text()
    assert "repo_gpgcheck=1" in repo and "gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-container-toolkit" in repo


def test_a_system_with_neither_apt_nor_dnf_is_told_what_to_do(at: Callable[..., GpuMachine]) -> None:
    found = at(machine)
    found.file("etc/os-release", "ID=arch\n")
    before = found.snapshot()
    with pytest.raises(HostError, match="another package manager"):
        driver.ensure(environment(plan()))
    assert found.snapshot() == before


def test_a_layer_that_was_lost_after_a_first_up_is_made_again(
    at: Callable[..., GpuMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = at(right)
    assert driver.repair("box", plan()) == []  # nothing is lost: no process is started
    found.file(DAEMON, '{"log-driver": "journald"}')
    found.change(docker={"runtimes": ["io.containerd.runc.v2", "runc"]})
    started: list[list[str]] = []

    def run(words: Any, *, timeout: float, **named: Any) -> Any:
        if words[0] != sys.executable:
            return found.run(words, timeout=timeout, **named)
        started.append(words[1:])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            driver.ensure(named["environment"])
        return subprocess.CompletedProcess(words, 0, said.getvalue(), "")

    monkeypatch.setattr(command, "run", run)
    assert driver.repair("box", plan())[-1] == "docker restarted"
    assert started == [["-m", "host", "nvidia", "ensure"]]
    assert_ready(found)
    assert json.loads((found.root / DAEMON).read_text())["log-driver"] == "journald"


# kill -9


def _run_until(found: GpuMachine, kill_at: int, wanted: NvidiaHostPlan) -> int:
    """Runs ensure in a process of its own, which is killed at its n-th point; returns how many points there were."""
    counter = found.folder / "points"
    process = os.fork()
    if process == 0:
        code = 1
        try:
            found.points, found.kill_at = 0, kill_at
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            driver.ensure(environment(wanted))
            counter.write_text(str(found.points))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) == (kill_at > 0) and (kill_at or status == 0)
    return int(counter.read_text()) if not kill_at else 0


def fedora(folder: Path) -> GpuMachine:
    found = machine(folder)
    found.file("etc/os-release", "ID=fedora\n")
    found.change(without=["apt-get", "dpkg", "dpkg-query"])
    return found


KILLED: dict[str, tuple[Callable[[Path], GpuMachine], NvidiaHostPlan]] = {
    **{name: (make, plan()) for name, make in STATES.items() if name != "all right"},
    "nothing there, under WSL2": (lambda folder: machine(folder, wsl=True), plan(platform="wsl2")),
    "nothing there, without systemd": (no_systemd, plan(platform="wsl2")),
    "nothing there, for K3s": (machine, plan("k3s")),
    "nothing there, on Fedora": (fedora, plan()),
}


@pytest.mark.long
@pytest.mark.parametrize("name", KILLED)
def test_kill_9_at_every_point_ends_in_the_same_state(
    name: str, at: Callable[..., GpuMachine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, wanted = KILLED[name]
    found = at(make)
    shutil.copytree(found.folder, tmp_path / "start", symlinks=True)
    points = _run_until(found, 0, wanted)
    whole = found.snapshot()
    assert points > 10
    for number in range(1, points + 1):
        shutil.rmtree(found.folder)
        shutil.copytree(tmp_path / "start", found.folder, symlinks=True)
        _run_until(found, number, wanted)
        ensured(capsys, wanted)
        assert found.snapshot() == whole, f"killed at {number} of {points}"


# what was shown is what was done


PLATFORMS = [("docker", "linux"), ("docker", "wsl2"), ("k3s", "linux"), ("k3s", "wsl2")]
# words of a listed change -> what it may touch
MAY_TOUCH: dict[str, set[str]] = {
    "NVIDIA container toolkit": {
        LIST, "usr/share/keyrings/nvidia-container-toolkit-keyring.gpg", "packages", "units",
        "var/lib/local-ai-lab/nvidia.json", "var/run/cdi/nvidia.yaml",  # the packages' own script writes the last
    },
    "/etc/docker/daemon.json": {DAEMON, f"{DAEMON}.before-local-ai-lab", "docker"},
    "/var/run/cdi/nvidia.yaml": {"var/run/cdi/nvidia.yaml", "units"},
    "/etc/udev/rules.d/71-nvidia-dev-char.rules": {RULE, "dev/char/195:0"},
}  # fmt: skip


def _touched(before: dict[str, str], after: dict[str, str]) -> set[str]:
    paths = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)} - {"state.json"}
    old, new = json.loads(before["state.json"]), json.loads(after["state.json"])
    return paths | {part for part in old if old[part] != new[part]}


def _listed(wanted: NvidiaHostPlan) -> list[HostChange]:
    return planning.host_changes(wanted)


@pytest.mark.parametrize(("runtime", "platform"), PLATFORMS)
@pytest.mark.parametrize("toolkit", [None, "1.17.8"])
def test_what_is_done_is_what_was_listed(
    runtime: str, platform: str, toolkit: str | None, at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = plan(runtime, platform)
    found = at(lambda folder: machine(folder, wsl=platform == "wsl2", toolkit=toolkit))
    before = found.snapshot()
    ensured(capsys, wanted)
    touched = _touched(before, found.snapshot())
    changes = _listed(wanted)
    assert len(changes) == len(wanted.steps)
    allowed = {name: MAY_TOUCH[words] for c in changes for words in MAY_TOUCH if (name := words) in c.what}
    assert len(allowed) == len(changes), "every listed change is known here"
    extra = {"var/lib/local-ai-lab/nvidia.json"}
    assert touched <= set.union(*allowed.values()) | extra
    untouched = {name for name, paths in allowed.items() if not touched & paths}
    expected = {"/etc/udev/rules.d/71-nvidia-dev-char.rules"} if toolkit is None else {"NVIDIA container toolkit"}
    if runtime == "docker":
        assert untouched - {"NVIDIA container toolkit"} <= expected and (toolkit is None) == bool(found.state["units"])
    assert all(change.root for change in changes)


def test_a_layer_that_is_not_in_the_plan_is_never_touched(
    at: Callable[..., GpuMachine], capsys: pytest.CaptureFixture[str]
) -> None:
    found = at(machine)
    before = found.snapshot()
    ensured(capsys, plan(steps=()))
    assert found.snapshot() == before


def test_every_use_of_a_program_that_no_documentation_names_fails(at: Callable[..., GpuMachine]) -> None:
    found = at(right)
    for words in (
        ["nvidia-smi", "--query-gpu=memory.guessed", "--format=csv,noheader,nounits"],
        ["nvidia-ctk", "runtime", "register"],
        ["docker", "info", "--json"],
        ["systemctl", "bounce", "docker"],
        ["apt-get", "-y", "install", "nvidia-container-toolkit"],
        ["dpkg", "--configure", "vim"],
    ):
        assert found.answer(words)[0] == 64, words
    with pytest.raises(command.CommandFailed):
        found.run(["modprobe", "nvidia"], timeout=1.0)
