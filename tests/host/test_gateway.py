"""The gateway as it runs: the real Envoy before engines that stand in for vLLM."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from cli.commands import endpoint, keys, verify
from probes.docker_api import DockerApi
from probes.gateway import GatewayAccess
from probes.inference_check import check_in_docker
from probes.verify import suite
from probes.verify.target import CHAT, Target, chat_body
from stacks import names
from tests.support.live_gateway import STACK, LiveGateway, answering, free_port, wait_until
from tests.support.stacks import IN_DOCKER, plan

pytestmark = pytest.mark.long
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with answering(tmp_path_factory.mktemp("home")) as made:
        yield made


def test_every_probe_passes(target: Target) -> None:
    outcomes = suite.run(target)
    assert [(o.name, o.finding) for o in outcomes if o.finding] == []
    assert len(outcomes) >= 60


def test_the_engine_sees_its_own_key_and_who_asks_and_nothing_of_the_client_s(
    front: LiveGateway, target: Target
) -> None:
    sent = {"x-client-id": "root", "x-model": "b", "user": "root", "x-forwarded-for": "8.8.8.8", "x-request-id": "mine"}
    assert target.ask("POST", CHAT, key=front.key, json=chat_body("a", "Hi"), headers=sent).status_code == 200
    path, headers, body = front.engines["a"].seen[-1]
    assert path == CHAT
    assert json.loads(body) == chat_body("a", "Hi")
    assert headers["authorization"] == f"Bearer {front.engines['a'].key}"
    assert headers["x-client-id"] == "lab"
    assert not {"x-model", "x-model-status", "user"} & set(headers)
    assert "8.8.8.8" not in headers["x-forwarded-for"]
    assert headers["x-request-id"] != "mine"


def test_chunks_of_a_stream_arrive_as_they_are_sent(front: LiveGateway, target: Target) -> None:
    body = {**chat_body("a", "Hi"), "stream": True}
    with target.client(front.key) as client, client.stream("POST", CHAT, json=body) as answer:
        assert answer.status_code == 200
        arrived = list(answer.iter_raw())
    assert len(arrived) == 5  # one by one: gathered ones would come in fewer pieces


def test_the_inference_check_goes_through_the_gateway(front: LiveGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    container = {
        "Config": {"Labels": {names.STACK_LABEL: STACK}},
        "State": {"Running": True, "Health": {"Status": "healthy"}},
    }
    monkeypatch.setattr(DockerApi, "connect", lambda: DockerApi.__new__(DockerApi))
    monkeypatch.setattr(DockerApi, "container", lambda self, name: container)
    monkeypatch.setattr(DockerApi, "document", lambda self, path: {"Version": "20.10.24"})
    gateway = GatewayAccess(front.keys.folder.parent, STACK)
    walk = check_in_docker("a-project", "b", front.plan.url, stack=STACK, gateway=gateway)
    assert walk.failure is None
    assert [hop.name for hop in walk.hops] == ["docker", "container", "gateway", "/v1/models", "chat", "streaming"]
    container["State"] = {"Running": True, "Health": {"Status": "unhealthy"}}
    assert not check_in_docker("a-project", "b", front.plan.url, stack=STACK, gateway=gateway).ok


def test_lab_verify_prints_every_probe_and_its_files_are_for_programs(
    front: LiveGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(IN_DOCKER[0], lambda own: own.update(gateway={"kind": "envoy"}))
    closed = tuple(model.model_copy(update={"port": free_port()}) for model in made.models)
    target = SimpleNamespace(
        stack=STACK,
        plan=made.model_copy(update={"gateway": front.plan, "models": closed}),
        gateway_access=lambda: None,
        alone=contextlib.nullcontext,
        network_policies="",
    )
    monkeypatch.setattr(verify, "deployed", lambda root, stack: target)
    monkeypatch.setattr(verify.gateway_files, "keys", lambda stack: front.keys)
    monkeypatch.setattr(verify.gateway_files, "authority", lambda stack: front.authority)
    api = SimpleNamespace(log=lambda name, tail: front.log())
    monkeypatch.setattr(verify.DockerApi, "connect", lambda: api)
    before = front.keys.names()
    with pytest.raises(SystemExit) as left:
        verify.run(tmp_path, STACK, as_json=True, junit=tmp_path / "verify.xml")
    told = json.loads(capsys.readouterr().out)
    assert [outcome["finding"] for outcome in told["outcomes"] if outcome["finding"]] == []
    assert (left.value.code, told["findings"], told["probes"]) == (0, 0, len(suite.PROBES))
    assert ElementTree.parse(tmp_path / "verify.xml").getroot().get("tests") == str(len(suite.PROBES))  # noqa: S314
    assert front.keys.names() == before
    monkeypatch.setattr(verify.DockerApi, "connect", lambda: SimpleNamespace(log=lambda name, tail: ""))
    with pytest.raises(SystemExit) as left:
        verify.run(tmp_path, STACK, as_json=False, junit=None)
    assert left.value.code == 1
    assert f"{len(suite.PROBES)} probes, 1 finding\n" in capsys.readouterr().out


def test_what_lab_endpoint_prints_works_with_a_key_that_lab_keys_printed(
    front: LiveGateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = plan(IN_DOCKER[0], lambda own: own.update(gateway={"kind": "envoy"}))
    (model,) = made.models
    served = model.model_copy(update={"name": "b", "endpoint": front.plan.url})
    told = made.model_copy(update={"gateway": front.plan, "models": (served,)})
    target = SimpleNamespace(stack=STACK, plan=told, gateway_access=lambda: None)
    for command in (keys, endpoint):
        monkeypatch.setattr(command, "deployed", lambda root, stack: target)
        monkeypatch.setattr(command.gateway_files, "keys", lambda stack: front.keys)
    monkeypatch.setattr(endpoint.gateway_files, "authority", lambda stack: front.authority)
    keys.run(tmp_path, STACK, "add", "printed", as_json=False)
    key = capsys.readouterr().out.strip()
    wait_until(lambda: front.target().ask("GET", "/v1/models", key=key).status_code == 200)
    endpoint.run(tmp_path, STACK, as_json=True)
    shown = capsys.readouterr().out
    assert key not in shown
    clients = json.loads(shown)["clients"]
    compile(clients["OpenAI's Python client"], "as printed", "exec")
    words = ["sh", "-c", clients["curl"]]
    done = subprocess.run(words, env={**os.environ, "LAB_KEY": key}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["model"] == "b"
    keys.run(tmp_path, STACK, "revoke", "printed", as_json=False)


def test_the_list_names_every_model_and_each_can_be_asked_for(front: LiveGateway, target: Target) -> None:
    listed = target.ask("GET", "/v1/models", key=front.key).json()
    assert [model["id"] for model in listed["data"]] == ["a", "b", "chat"]
    assert target.ask("GET", "/v1/models/b", key=front.key).json()["id"] == "b"
    assert target.ask("GET", "/v1/models/c", key=front.key).status_code == 404


def test_a_revoked_key_is_refused_and_a_rotated_one_replaced_while_others_go_on(
    front: LiveGateway, target: Target
) -> None:
    first = front.keys.add("laptop")
    wait_until(lambda: target.chat(key=first).status_code == 200)
    second = front.keys.rotate("laptop")
    wait_until(lambda: target.chat(key=first).status_code == 401 and target.chat(key=second).status_code == 200)
    front.keys.revoke("laptop")
    wait_until(lambda: target.chat(key=second).status_code == 401)
    assert target.chat(key=front.key).status_code == 200


def test_a_model_that_is_not_there_is_said_to_be_starting(front: LiveGateway, target: Target) -> None:
    front.engines["b"].healthy = False
    try:
        wait_until(lambda: target.chat("b", key=front.key).status_code == 503, 60)
        answer = target.chat("b", key=front.key)
        assert answer.json()["error"]["code"] == "model_not_ready"
        assert answer.headers["retry-after"] == "5"
        assert target.chat("a", key=front.key).status_code == 200
    finally:
        front.engines["b"].healthy = True
    wait_until(lambda: target.chat("b", key=front.key).status_code == 200, 60)
