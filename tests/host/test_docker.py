"""The docker driver against a strict stand-in for Docker's API: every state, every verb, a kill at every call."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.rendered import commands
from host.drivers import docker as driver
from host.drivers.epoch import wanted_epoch
from host.system import files, state
from probes.docker_api import DockerApi, socket_path
from stacks import names
from stacks.errors import LabError
from tests.support.fake_docker import IMAGE, FakeDocker, served
from tests.support.kill_points import KillPoints
from tests.support.stacks import IN_DOCKER, plan

STACK = IN_DOCKER[0]
SPEC = commands(plan(STACK))["containers-ensure"].environment["LAB_SPEC"]
DOCUMENT = json.loads(SPEC)
(SERVICE,) = DOCUMENT["services"]
CONTAINER, NETWORK = DOCUMENT["services"][SERVICE]["container_name"], DOCUMENT["name"]
(VOLUME,) = [volume["name"] for volume in DOCUMENT["volumes"].values()]
REFERENCE = DOCUMENT["services"][SERVICE]["image"]
TOLD = {"LAB_STACK": STACK, "LAB_SPEC": SPEC, "LAB_EPOCH": "0"}


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    """An engine that has nothing, and can pull the stack's image."""
    fake = FakeDocker()
    fake.pullable = (REFERENCE,)
    with served(fake, tmp_path_factory.mktemp("d") / "s") as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield fake
    assert fake.refused == []


def run(verb: str, capsys: pytest.CaptureFixture[str], **told: str) -> dict[str, Any]:
    """One verb; returns the JSON that it printed."""
    getattr(driver, verb)({**TOLD, **told})
    said = capsys.readouterr().out
    return json.loads(said.splitlines()[-1])


def _running(fake: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    fake.images[REFERENCE] = {"Id": "sha256:one", **copy.deepcopy(IMAGE)}
    run("ensure", capsys)


def _found(fake: FakeDocker) -> dict[str, Any]:
    return fake.containers[CONTAINER]


def _stopped(fake: FakeDocker) -> None:
    _found(fake)["State"] |= {"Status": "exited", "Running": False}


def _paused(fake: FakeDocker) -> None:
    _found(fake)["State"] |= {"Status": "paused", "Paused": True}


def _without_container(fake: FakeDocker) -> None:
    del fake.containers[CONTAINER]


def _without_network(fake: FakeDocker) -> None:
    _stopped(fake)
    del fake.networks[NETWORK]


def _without_volume(fake: FakeDocker) -> None:
    del fake.containers[CONTAINER], fake.volumes[VOLUME]


def _only_created(fake: FakeDocker) -> None:
    _found(fake)["State"] |= {"Status": "created", "Running": False}


def _more_memory(fake: FakeDocker) -> None:
    _found(fake)["HostConfig"]["Memory"] += 1


def _other_arguments(fake: FakeDocker) -> None:
    _found(fake)["Config"]["Cmd"] = [*_found(fake)["Config"]["Cmd"], "--enforce-eager"]


def _another_variable(fake: FakeDocker) -> None:
    _found(fake)["Config"]["Env"] = [*_found(fake)["Config"]["Env"], "VLLM_LOGGING_LEVEL=DEBUG"]


def _another_port(fake: FakeDocker) -> None:
    _found(fake)["HostConfig"]["PortBindings"]["22/tcp"] = [{"HostIp": "", "HostPort": "22"}]


def _privileged(fake: FakeDocker) -> None:
    _found(fake)["HostConfig"]["Privileged"] = True


def _other_image(fake: FakeDocker) -> None:
    fake.images[REFERENCE]["Id"] = "sha256:two"


def _other_network(fake: FakeDocker) -> None:
    fake.networks[NETWORK]["Options"]["com.docker.network.bridge.enable_icc"] = "true"


def _model_that_went(fake: FakeDocker) -> None:
    other = copy.deepcopy(_found(fake))
    other |= {"Id": "f" * 64, "Name": "/gone"}
    fake.containers["gone"] = other
    fake.volumes["gone-scratch"] = {"Name": "gone-scratch", "Labels": fake.volumes[VOLUME]["Labels"]}


def _unhealthy(fake: FakeDocker) -> None:
    _found(fake)["State"]["Health"] = {"Status": "unhealthy", "Log": [{"Output": "TimeoutError"}]}


def _nothing(_fake: FakeDocker) -> None:
    """As it is."""


STATES: dict[str, tuple[Callable[[FakeDocker], None], str]] = {
    "as made": (_nothing, "running"),
    "stopped": (_stopped, "stopped"),
    "paused": (_paused, "stopped"),
    "container removed": (_without_container, "half-created"),
    "network removed": (_without_network, "half-created"),
    "container and volume removed": (_without_volume, "half-created"),
    "made and never started": (_only_created, "half-created"),
    "memory changed by hand": (_more_memory, "drifted"),
    "arguments changed by hand": (_other_arguments, "drifted"),
    "environment changed by hand": (_another_variable, "drifted"),
    "another port opened by hand": (_another_port, "drifted"),
    "made privileged by hand": (_privileged, "drifted"),
    "image name leads to another image": (_other_image, "drifted"),
    "network changed": (_other_network, "drifted"),
    "a model that is not wished any more": (_model_that_went, "drifted"),
    "hangs": (_unhealthy, "degraded"),
}


@pytest.mark.parametrize("case", STATES)
def test_ensure_ends_in_the_same_state_from_every_state_and_then_changes_nothing(
    case: str, engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    _running(engine, capsys)
    change, word = STATES[case]
    change(engine)
    assert run("status", capsys)["state"] == word
    changed = run("ensure", capsys)["changed"]
    assert bool(changed) == (case != "as made")
    assert run("status", capsys)["state"] == "running"
    assert (
        set(engine.containers) == {CONTAINER} and set(engine.networks) == {NETWORK} and set(engine.volumes) == {VOLUME}
    )
    before = engine.snapshot()
    assert run("ensure", capsys)["changed"] == []
    assert engine.snapshot() == before


@pytest.mark.parametrize("case", STATES)
def test_status_changes_nothing_and_destroy_leaves_nothing(
    case: str, engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    _running(engine, capsys)
    STATES[case][0](engine)
    engine.writes.clear()
    run("status", capsys)
    assert engine.writes == []
    run("destroy", capsys)
    left = engine.snapshot()
    assert (left["containers"], left["networks"], left["volumes"]) == ({}, {}, {})
    assert list(left["images"]) == [REFERENCE]  # pulled: others may need it
    assert run("destroy", capsys)["removed"] == []
    assert run("status", capsys)["state"] == "absent"
    assert not (state.folder(STACK) / "compose.yaml").exists()


def test_from_nothing_the_image_is_pulled_and_all_is_made(
    engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("status", capsys)["state"] == "absent"
    assert run("ensure", capsys)["changed"] == [
        "wrote the compose file", f"got image {REFERENCE}", f"made network {NETWORK}", f"made volume {VOLUME}",
        f"made container {CONTAINER}", f"started {CONTAINER}",
    ]  # fmt: skip
    assert run("status", capsys)["programs"][SERVICE]["pid"] == 4242


FOREIGN: dict[str, Callable[[FakeDocker], None]] = {
    "container": lambda f: f.containers[CONTAINER]["Config"].update(Labels={"com.example": "mine"}),
    "network": lambda f: f.networks[NETWORK].update(Labels={}),
    "volume": lambda f: f.volumes[VOLUME].update(Labels=None),
    "of another stack": lambda f: f.containers[CONTAINER]["Config"]["Labels"].update({names.STACK_LABEL: "other"}),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_another_made_is_never_touched(case: str, engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    _running(engine, capsys)
    FOREIGN[case](engine)
    theirs, kind = copy.deepcopy(_found(engine)), "container" if case == "of another stack" else case
    before = engine.snapshot()
    assert run("status", capsys)["state"] == "foreign"
    with pytest.raises(LabError, match=f"not made by stack {STACK}, and in its way: {kind}") as raised:
        run("ensure", capsys)
    assert f"docker {kind} inspect" in raised.value.remedy
    assert engine.snapshot() == before
    if kind == "container":
        with pytest.raises(LabError, match="has active endpoints"):
            run("destroy", capsys)  # its network is in use
        assert _found(engine) == theirs
    if kind == "network":
        run("destroy", capsys)
        assert list(engine.networks) == [NETWORK]
    if kind == "volume":
        run("destroy", capsys)
        assert list(engine.volumes) == [VOLUME]


def test_a_key_is_in_the_container_and_in_a_file_of_its_owner_and_nowhere_else(
    engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.images[REFERENCE] = {"Id": "sha256:one", **copy.deepcopy(IMAGE)}
    made = plan(STACK, lambda own: own.update(apiKey="sk-canary-1"))
    spec = commands(made)["containers-ensure"].environment["LAB_SPEC"]
    assert run("ensure", capsys, LAB_SPEC=spec, LAB_API_KEY="sk-canary-1")["changed"]
    config = _found(engine)["Config"]
    assert "VLLM_API_KEY=sk-canary-1" in config["Env"]
    assert "canary" not in str([config["Cmd"], config["Labels"], _found(engine)["HostConfig"]])
    folder = state.folder(STACK)
    assert (folder / "vllm.env").read_text() == "VLLM_API_KEY=sk-canary-1\n"
    assert {(folder / name).stat().st_mode & 0o777 for name in ("vllm.env", "compose.yaml")} == {0o600}
    assert "canary" not in (folder / "compose.yaml").read_text()
    assert run("ensure", capsys, LAB_SPEC=spec, LAB_API_KEY="sk-canary-1")["changed"] == []
    assert run("status", capsys, LAB_SPEC=spec)["state"] == "running"  # without the key, which only `up` has
    assert f"made container {CONTAINER}" in run("ensure", capsys, LAB_SPEC=spec, LAB_API_KEY="sk-canary-2")["changed"]
    with pytest.raises(LabError, match="LAB_API_KEY is not set"):
        run("ensure", capsys, LAB_SPEC=spec)
    run("destroy", capsys, LAB_SPEC=spec)
    assert not (folder / "vllm.env").exists()


def test_the_compose_file_is_read_back_as_it_was_meant(engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    engine.images[REFERENCE] = {"Id": "sha256:one", **copy.deepcopy(IMAGE)}
    made = plan(STACK, lambda own: own["models"][0].update(environment={"PRICE": "5$ and ${HOME}"}))
    run("ensure", capsys, LAB_SPEC=commands(made)["containers-ensure"].environment["LAB_SPEC"])
    document = yaml.safe_load((state.folder(STACK) / "compose.yaml").read_text())
    assert document["services"][SERVICE]["environment"]["PRICE"] == "5$$ and $${HOME}"  # compose would put variables in
    assert "PRICE=5$ and ${HOME}" in _found(engine)["Config"]["Env"]
    assert wanted_epoch(STACK, "docker") == 0


@pytest.mark.parametrize("case", [case for case in STATES if case != "as made"])
def test_whatever_is_wrong_makes_the_command_run_again(
    case: str, engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert wanted_epoch(STACK, "docker") == 0  # nothing was made: nothing is looked at
    _running(engine, capsys)
    assert wanted_epoch(STACK, "docker") == 0
    STATES[case][0](engine)
    assert wanted_epoch(STACK, "docker") == 1
    run("ensure", capsys, LAB_EPOCH="1")
    assert wanted_epoch(STACK, "docker") == 1
    run("destroy", capsys)
    assert wanted_epoch(STACK, "docker") == 1


def test_a_refused_start_says_why_and_what_to_type(engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    engine.start_error = 'could not select device driver "" with capabilities: [[gpu]]'
    with pytest.raises(LabError, match="cannot be started") as raised:
        run("ensure", capsys)
    assert f"./lab up {STACK} installs it" in raised.value.remedy
    assert run("status", capsys)["state"] == "half-created"
    engine.start_error = ""
    assert run("ensure", capsys)["changed"] == [f"started {CONTAINER}"]


def test_an_unknown_key_of_a_service_is_refused(engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["services"][SERVICE]["cgroup_parent"] = "/"
    with pytest.raises(LabError, match="cgroup_parent is not known"):
        run("ensure", capsys, LAB_SPEC=json.dumps(document))


def _killed(verb: str, at: int) -> bool:
    """Runs one verb in a child that is killed at its `at`-th call of the API, program or write; whether it was."""
    child = os.fork()
    if child == 0:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        code = 1
        try:
            points = KillPoints(at, files, "write_atomic")
            points.trace(DockerApi, "request")
            getattr(driver, verb)(TOLD)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.long
@pytest.mark.parametrize("case", ["from nothing", "memory changed by hand", "network removed"])
def test_a_kill_at_any_point_of_ensure_is_made_good_by_the_next_one(
    case: str, engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = {"Name": "theirs", "Labels": {"com.example": "mine"}}
    wanted, at, killed = None, 0, True
    while killed:
        at += 1
        engine.containers.clear(), engine.networks.clear(), engine.volumes.clear(), engine.images.clear()
        engine.volumes["theirs"] = dict(foreign)
        if case != "from nothing":
            _running(engine, capsys)
            STATES[case][0](engine)
        killed = _killed("ensure", at)
        run("ensure", capsys)
        now = engine.snapshot()
        wanted = wanted or now
        assert now == wanted, at
        assert run("ensure", capsys)["changed"] == [], at
        assert engine.volumes["theirs"] == foreign
    print(f"\nkilled at {at - 1} points of ensure, {case}")
    assert at > 20


@pytest.mark.long
def test_a_kill_at_any_point_of_destroy_is_made_good_by_the_next_one(
    engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    at, killed = 0, True
    while killed:
        at += 1
        _running(engine, capsys)
        killed = _killed("destroy", at)
        run("destroy", capsys)
        left = engine.snapshot()
        assert (left["containers"], left["networks"], left["volumes"]) == ({}, {}, {}), at
        assert run("destroy", capsys)["removed"] == [], at
    print(f"\nkilled at {at - 1} points of destroy")
    assert at > 10


@pytest.mark.parametrize(
    ("host", "what", "remedy"),
    [
        ("tcp://192.0.2.1:2376", "not a socket of this machine", "unset DOCKER_HOST"),
        ("unix:///nowhere/docker.sock", "Docker is not here", "apt-get install docker.io"),
    ],
)
def test_no_engine_of_this_machine_is_said_with_what_to_type(
    host: str, what: str, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    for verb in ("ensure", "status", "destroy"):
        with pytest.raises(LabError, match=what) as raised:
            run(verb, capsys)
        assert remedy in raised.value.remedy


def test_the_context_that_was_chosen_is_used(tmp_path: Path) -> None:
    assert socket_path({}, tmp_path) == Path("/var/run/docker.sock")
    folder = tmp_path / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text('{"currentContext": "rootless"}')
    meta = folder / "contexts/meta" / hashlib.sha256(b"rootless").hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text('{"Endpoints": {"docker": {"Host": "unix:///run/user/1000/docker.sock"}}}')
    assert socket_path({}, tmp_path) == Path("/run/user/1000/docker.sock")
    assert socket_path({"DOCKER_CONTEXT": "default"}, tmp_path) == Path("/var/run/docker.sock")
    assert socket_path({"DOCKER_HOST": "unix:///x.sock"}, tmp_path) == Path("/x.sock")
