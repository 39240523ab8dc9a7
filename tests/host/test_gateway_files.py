"""Keys, certificate and configuration of a gateway on the machine, and its containers in Docker."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.rendered import commands
from host.drivers import docker as driver
from host.gateway import gateway_files
from probes.gateway import GatewayAccess
from stacks.errors import HostError
from tests.support.fake_docker import IMAGE, FakeDocker, served
from tests.support.stacks import IN_DOCKER, plan

STACK = IN_DOCKER[0]
PLAN = plan(STACK, lambda config: config.update(gateway={"kind": "envoy"}))
SPEC = commands(PLAN)["containers-ensure"].environment["LAB_SPEC"]
DOCUMENT = json.loads(SPEC)
TOLD = {"LAB_STACK": STACK, "LAB_SPEC": SPEC, "LAB_EPOCH": "0"}
IMAGES = [service["image"] for service in DOCUMENT["services"].values()]


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    fake = FakeDocker()
    for number, image in enumerate(IMAGES):
        fake.images[image] = {"Id": f"sha256:{number}", **copy.deepcopy(IMAGE)}
    with served(fake, tmp_path_factory.mktemp("d") / "s") as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield fake
    assert fake.refused == []


def _say(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


def test_the_first_up_makes_all_and_the_second_nothing(engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    driver.ensure(TOLD)
    networks = {c: set(found["NetworkSettings"]["Networks"]) for c, found in engine.containers.items()}
    project = DOCUMENT["name"]
    assert networks == {
        f"{project}-llama-3-2-1b": {f"{project}-llama-3-2-1b"},
        f"{project}-gateway": {project, f"{project}-llama-3-2-1b"},
    }
    published = {c: found["HostConfig"]["PortBindings"] for c, found in engine.containers.items()}
    assert published[f"{project}-llama-3-2-1b"] == {}
    assert published[f"{project}-gateway"] == {"8443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8443"}]}
    before, key = engine.snapshot(), gateway_files.keys(STACK).of("lab")
    capsys.readouterr()
    driver.ensure(TOLD)
    assert _say(capsys)["changed"] == []
    assert engine.snapshot() == before
    assert gateway_files.keys(STACK).of("lab") == key


def test_the_engine_has_the_key_that_the_gateway_sends(engine: FakeDocker) -> None:
    driver.ensure(TOLD)
    found = engine.containers[f"{DOCUMENT['name']}-llama-3-2-1b"]["Config"]["Env"]
    sent = json.loads((gateway_files.mounted(STACK) / "engine-key.json").read_text())["resources"][0]["generic_secret"]
    assert f"VLLM_API_KEY={sent['secret']['inline_string'].removeprefix('Bearer ')}" in found


def test_a_rootless_engine_is_refused_before_anything_is_made(
    engine: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engine.info, "SecurityOptions", ["name=seccomp,profile=builtin", "name=rootless"])
    with pytest.raises(HostError, match="rootless") as refused:
        driver.ensure(TOLD)
    assert "kind: none" in refused.value.remedy
    assert (engine.writes, engine.containers) == ([], {})
    assert not gateway_files.mounted(STACK).exists()


def test_no_key_leaves_its_file(engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    driver.ensure(TOLD)
    key = gateway_files.keys(STACK).of("lab")
    said = capsys.readouterr()
    compose = (gateway_files.mounted(STACK).parent.parent / "compose.yaml").read_text()
    gateway = json.dumps(engine.containers[f"{DOCUMENT['name']}-gateway"])
    for text in (said.out, said.err, compose, gateway, json.dumps(engine.writes), SPEC):
        assert key not in text
        assert gateway_files.engine_key(STACK) not in text


def test_a_joined_network_that_was_left_is_joined_again(engine: FakeDocker, capsys: pytest.CaptureFixture[str]) -> None:
    driver.ensure(TOLD)
    project = DOCUMENT["name"]
    del engine.containers[f"{project}-gateway"]["NetworkSettings"]["Networks"][f"{project}-llama-3-2-1b"]
    driver.ensure(TOLD)
    assert set(engine.containers[f"{project}-gateway"]["NetworkSettings"]["Networks"]) == {
        project,
        f"{project}-llama-3-2-1b",
    }


def test_a_model_more_leaves_the_engines_that_are_there(engine: FakeDocker) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["gateway"] = {"kind": "envoy"}
        config["machine"]["gpus"] = 2
        config["models"].append({**config["models"][0], "name": "second", "port": 30081})

    driver.ensure(TOLD)
    project = DOCUMENT["name"]
    before = {name: found["Id"] for name, found in engine.containers.items()}
    driver.ensure({**TOLD, "LAB_SPEC": commands(plan(STACK, edit))["containers-ensure"].environment["LAB_SPEC"]})
    after = {name: found["Id"] for name, found in engine.containers.items()}
    assert set(after) == {f"{project}-llama-3-2-1b", f"{project}-second", f"{project}-gateway"}
    assert after[f"{project}-llama-3-2-1b"] == before[f"{project}-llama-3-2-1b"]
    assert after[f"{project}-gateway"] != before[f"{project}-gateway"]


def test_a_destroyed_stack_keeps_its_keys_and_its_authority(engine: FakeDocker) -> None:
    driver.ensure(TOLD)
    key, authority = gateway_files.keys(STACK).of("lab"), gateway_files.authority(STACK).read_bytes()
    driver.destroy(TOLD)
    assert (engine.containers, engine.networks, engine.volumes) == ({}, {}, {})
    driver.ensure(TOLD)
    assert (gateway_files.keys(STACK).of("lab"), gateway_files.authority(STACK).read_bytes()) == (key, authority)


def test_every_file_with_a_secret_is_its_owner_s_alone(engine: FakeDocker) -> None:
    driver.ensure(TOLD)
    root = gateway_files.mounted(STACK).parent
    secret = [*gateway_files.mounted(STACK).iterdir(), root / "engine.key", *root.glob("tls/*.key")]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in secret} == {path.name: "0o600" for path in secret}
    assert oct(gateway_files.mounted(STACK).stat().st_mode & 0o777) == "0o700"


def test_a_probe_reads_the_same_key_that_the_host_wrote(engine: FakeDocker) -> None:
    driver.ensure(TOLD)
    front = GatewayAccess(gateway_files.mounted(STACK).parent, STACK)
    assert front.key() == gateway_files.keys(STACK).of("lab")
    assert front.authority == gateway_files.authority(STACK)


def test_keys_are_added_rotated_and_revoked_one_by_one(tmp_path: Path) -> None:
    keys = gateway_files.Keys(tmp_path / "envoy", "a-stack")
    assert keys.ensure_own()
    assert not keys.ensure_own()
    first = keys.add("laptop")
    assert keys.names() == ["lab", "laptop"]
    second = keys.rotate("laptop")
    assert (keys.of("laptop"), first == second) == (second, False)
    assert len(second) == len("sk-lab-") + 43  # 32 random bytes in base64 without padding
    keys.revoke("laptop")
    assert keys.names() == ["lab"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda keys: keys.add("lab"), "has a key already"),
        (lambda keys: keys.add("My Laptop"), "cannot be a key's name"),
        (lambda keys: keys.add("-a"), "cannot be a key's name"),
        (lambda keys: keys.rotate("nobody"), "there is no key 'nobody'"),
        (lambda keys: keys.revoke("nobody"), "there is no key 'nobody'"),
        (lambda keys: keys.revoke("lab"), "own checks"),
    ],
)
def test_what_cannot_be_done_with_keys_is_said(tmp_path: Path, call: Any, said: str) -> None:
    keys = gateway_files.Keys(tmp_path / "envoy", "a-stack")
    keys.ensure_own()
    before = (tmp_path / "envoy" / "keys.json").read_text()
    with pytest.raises(HostError, match=said):
        call(keys)
    assert (tmp_path / "envoy" / "keys.json").read_text() == before


def test_keys_of_a_stack_that_never_was_up_and_a_damaged_file_are_said(tmp_path: Path) -> None:
    keys = gateway_files.Keys(tmp_path / "envoy", "a-stack")
    with pytest.raises(HostError, match="no gateway on this machine yet"):
        keys.names()
    (tmp_path / "envoy").mkdir()
    (tmp_path / "envoy" / "keys.json").write_text("{}")
    with pytest.raises(HostError, match="damaged"):
        keys.names()
