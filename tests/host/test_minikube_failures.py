"""What minikube and Docker print when they fail, and what the user reads then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.drivers import DRIVERS, refuse_early
from host.drivers.minikube import driver, failures, program
from host.drivers.minikube.observe import parse_status
from host.drivers.minikube.wanted import Wanted
from stacks.errors import HostError
from stacks.plan import MinikubePlan
from tests.host.test_minikube_states import PROFILE, STACK, Saved, environment, saved, world
from tests.support.minikube_world import World
from tests.support.stacks import plan

__all__ = ["saved", "world"]  # fixtures


def wanted() -> Wanted:
    cluster = plan(STACK).cluster
    assert isinstance(cluster, MinikubePlan)
    return Wanted(STACK, cluster)


# Reasons and exit codes of minikube 1.37.0, pkg/minikube/reason/{reason,exitcodes}.go.
@pytest.mark.parametrize(
    ("code", "text", "cause", "remedy"),
    [
        (14, "❌  Exiting due to MK_USAGE: Docker has only 7000MB memory", "does not accept", "./lab plan rtx2060"),
        (16, "❌  Exiting due to MK_WRONG_BINARY_WSL: use the Linux binary", "not for this system", "PATH"),
        (23, "⛔  Exiting due to RSRC_INSUFFICIENT_SYS_MEMORY", "less memory", ".wslconfig"),
        (26, "❌  Exiting due to RSRC_DOCKER_STORAGE: Docker is out of disk space", "nearly full", "docker system df"),
        (29, "⛔  Exiting due to RSRC_INSUFFICIENT_CORES", "fewer processors", "machine.cpus"),
        (37, "❌  Exiting due to HOST_HOME_PERMISSION", "own folder", "chown"),
        (40, "❌  Exiting due to INET_CACHE_TAR", "cannot download", "HTTP_PROXY"),
        (57, "❌  Exiting due to DRV_AS_ROOT", "refuses root", "as your own user: ./lab up rtx2060"),
        (63, "💣  Exiting due to PROVIDER_DOCKER_NOT_RUNNING", "does not reach Docker", "start Docker Desktop"),
        (69, "💣  Exiting due to PROVIDER_DOCKER_NEWGRP", "does not reach Docker", "usermod -aG docker"),
        (
            80,
            "❌  Exiting due to GUEST_START: failed to start node",
            "did not come up",
            "minikube logs -p local-ai-lab",
        ),
        (81, "❌  Exiting due to GUEST_MOUNT_CONFLICT", "only acts when it is made", "./lab down rtx2060"),
        (85, "Profile not found", "did not come up", "./lab up rtx2060"),
        (106, "❌  Exiting due to K8S_DOWNGRADE_UNSUPPORTED", "version cannot be reached", "./lab down rtx2060"),
        (124, "", "took too long", "goes on"),
        (1, "something new", "a step failed", "./lab up rtx2060"),
        (
            80,
            'could not select device driver "" with capabilities: [[gpu]]',
            "without the NVIDIA container toolkit",
            "restart docker",
        ),
        (80, "write /var/lib/docker/x: no space left on device", "storage is full", "docker system df"),
        (80, "Bind for 127.0.0.1:30080 failed: port is already allocated", "another container", "30080 to 30095"),
        (80, "listen tcp4 127.0.0.1:30080: bind: address already in use", "another program", "ss -ltnp"),
    ],
)
def test_every_way_in_which_minikube_fails_has_a_cause_and_a_remedy(
    code: int, text: str, cause: str, remedy: str
) -> None:
    error = failures.minikube(wanted(), ("start",), code, text)
    assert cause in error.message.splitlines()[0]
    assert remedy in error.remedy
    assert "{" not in error.remedy
    assert f"minikube start ended with {code}" in error.message
    assert error.guest == (code in (80, 85))


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ({"docker": "missing-daemon"}, "systemctl start docker"),
        ({"docker": "no-permission"}, "usermod -aG docker"),
        ({"gpu": "none"}, "restart docker"),
    ],
)
def test_a_machine_that_cannot_have_it_is_told_what_to_type(world: World, said: dict[str, str], remedy: str) -> None:
    world.say(**said)
    with pytest.raises(HostError) as raised:
        driver.ensure(environment())
    assert remedy in raised.value.remedy
    assert "./lab up rtx2060" in raised.value.remedy
    world.say(docker="ok", gpu="ok")
    driver.ensure(environment())  # nothing of the failed run is in the way
    assert world.read("docker.json")["containers"][PROFILE]["State"]["Running"]


def test_without_docker_on_path_it_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(world.home))
    with pytest.raises(HostError, match="no docker on PATH") as raised:
        driver.ensure(environment())
    assert "Docker Desktop with WSL integration" in raised.value.remedy


def test_destroy_needs_docker_where_something_may_be_left(world: World, saved: Saved) -> None:
    world.restore(saved.whole)
    world.say(docker="missing-daemon")
    with pytest.raises(HostError, match="Docker does not run"):
        driver.destroy(environment())
    world.restore(saved.nothing)
    world.say(docker="missing-daemon")
    driver.destroy(environment())


@pytest.mark.parametrize("verb", ["ensure", "status", "destroy"])
def test_root_is_refused_before_anything_is_asked(verb: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.os, "geteuid", lambda: 0)
    world.forget_calls()
    with pytest.raises(HostError, match="refuses root") as raised:
        getattr(driver, verb)(environment())
    assert raised.value.remedy.endswith("./lab up rtx2060")
    assert world.calls() == []


def test_drivers_that_take_root_refuse_nobody() -> None:
    for name in DRIVERS:
        if name != "minikube":
            refuse_early(name, STACK)


# cmd/minikube/cmd/status.go of 1.37.0: the code is a sum of bits, 85 is mustload's; `null` is said of no nodes.
@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (
            0,
            '{"Name":"p","Host":"Running","Kubelet":"Running","APIServer":"Running","Kubeconfig":"Configured"}',
            "running",
        ),
        (0, '[{"Name":"p","Host":"Running","Kubelet":"Running","APIServer":"Running"},{"Name":"p-m02"}]', "running"),
        (4, '{"Host":"Running","Kubelet":"Running","APIServer":"Running","Kubeconfig":"Misconfigured"}', "running"),
        (2, '{"Host":"Running","Kubelet":"Stopped","APIServer":"Stopped","Kubeconfig":"Configured"}', "degraded"),
        (2, '{"Host":"Running","Kubelet":"Running","APIServer":"Paused","Kubeconfig":"Configured"}', "degraded"),
        (7, '{"Host":"Stopped","Kubelet":"Stopped","APIServer":"Stopped","Kubeconfig":"Stopped"}', "stopped"),
        (0, "null", "stopped"),  # 1.37
        (7, "null", "stopped"),  # 1.38
        (
            85,
            '{"type":"io.k8s.sigs.minikube.info","data":{"message":"Profile \\"p\\" not found."}}\n{"data":{}}',
            "absent",
        ),
        (38, '{"type":"io.k8s.sigs.minikube.error","data":{"exitcode":"38","name":"HOST_CONFIG_LOAD"}}', "unknown"),
        (85, '🤷  Profile "p" not found. Run "minikube profile list" to view all profiles.', "absent"),
        (38, "❌  Exiting due to HOST_CONFIG_LOAD: Error getting cluster config", "unknown"),
        (0, "", "unknown"),
        (0, "[]", "unknown"),
        (1, "true", "unknown"),
    ],
)
def test_the_exit_code_of_status_is_read_before_its_text(code: int, text: str, state: str) -> None:
    assert parse_status(code, text) == state


def test_the_planned_minikube_is_taken_and_another_one_on_path_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.find("1.37.0") == world.bin / "minikube"
    assert program.find("1.38.1") is None
    monkeypatch.setenv("LAB_OFFLINE", "1")
    with pytest.raises(HostError, match=r"minikube 1\.38\.1 is needed, and minikube on PATH is 1\.37\.0") as raised:
        program.get("1.38.1")
    assert "releases/tag/v1.38.1" in raised.value.remedy
    monkeypatch.setenv("PATH", "/usr/bin")
    with pytest.raises(HostError, match="none is on PATH"):
        program.get("1.38.1")


def test_a_downloaded_minikube_is_taken_from_the_cache(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = world.home / "cache" / "minikube"
    folder.mkdir(parents=True)
    (folder / "minikube-linux-amd64").write_text("")
    monkeypatch.setattr(program.releases, "obtained", lambda *_: folder)
    assert program.find("1.38.1") == folder / "minikube-linux-amd64"


@pytest.mark.parametrize(
    ("said", "folder"),
    [("", "HOME/.minikube"), ("/srv/mk", "/srv/mk/.minikube"), ("/srv/.minikube", "/srv/.minikube")],
)
def test_the_profile_is_looked_for_where_minikube_keeps_it(
    said: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIKUBE_HOME", said)
    expected = Path(folder.replace("HOME", os.environ["HOME"])) / "profiles" / PROFILE / "config.json"
    assert wanted().config == expected


def test_no_word_of_the_command_keeps_a_tilde() -> None:
    assert f"--mount-string={os.environ['HOME']}/.local/share/local-ai-lab/models:/models" in wanted().start
    assert not [word for word in wanted().start if "~" in word]
