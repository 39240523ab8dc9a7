"""The check and the engine's log of a stack in plain Docker: a stand-in of Docker's API, and of a model server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from probes.docker_api import _text
from probes.engine_logs import container_logs
from probes.inference_check import check_in_docker
from stacks import names
from tests.support.fake_docker import FakeDocker, served

PROJECT, MODEL = "local-ai-lab-box", "m"
CONTAINER = names.container(PROJECT, MODEL)
CHAT = {"choices": [{"message": {"content": " Paris."}}], "usage": {"completion_tokens": 4}}
STREAM = 'data: {"choices":[{"delta":{"content":"Par"}}]}\n\ndata: [DONE]\n\n'


class _Model(BaseHTTPRequestHandler):
    """What vLLM answers."""

    def do_GET(self) -> None:
        self._say(json.dumps({"data": [{"id": MODEL}]}))

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._say(STREAM if asked.get("stream") else json.dumps(CHAT))

    def _say(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_words: object) -> None:
        """Silent."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Model) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    fake = FakeDocker()
    fake.containers[CONTAINER] = {
        "Id": "1" * 64,
        "Name": f"/{CONTAINER}",
        "RestartCount": 0,
        "State": {"Status": "running", "Running": True, "Health": {"Status": "starting"}},
        "Config": {"Labels": {names.STACK_LABEL: "box"}, "Healthcheck": {"StartPeriod": 10**9}},
    }
    with served(fake, tmp_path_factory.mktemp("d") / "s") as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield fake
    assert fake.refused == []


def _hops(engine_endpoint: str, **options: Any) -> dict[str, Any]:
    return check_in_docker(PROJECT, MODEL, engine_endpoint, stack="box", **options).to_json()


def test_a_model_answers_on_every_hop(engine: FakeDocker, endpoint: str) -> None:
    walk = check_in_docker(PROJECT, MODEL, endpoint, stack="box", wait=print)
    assert walk.ok
    assert [hop.name for hop in walk.hops] == ["docker", "container", "/v1/models", "chat", "streaming"]
    assert walk.figures["text"] == "Paris."
    assert engine.writes == []


def test_the_first_broken_hop_is_named_with_its_cause(engine: FakeDocker, endpoint: str) -> None:
    engine.containers[CONTAINER]["State"] = {"Status": "exited", "Running": False, "ExitCode": 1}
    engine.logs[CONTAINER] = "ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has\n"
    for wait in (None, print):  # waiting does not help, and is not done
        walk = check_in_docker(PROJECT, MODEL, endpoint, stack="box", wait=wait)
        assert walk.failure is not None
        assert "container is broken: the card ran out of memory" in walk.failure.message
        assert "./lab plan box" in walk.failure.remedy


def test_a_container_that_is_gone_or_anothers_is_said(engine: FakeDocker, endpoint: str) -> None:
    engine.containers[CONTAINER]["Config"]["Labels"] = {}
    assert "was not made by stack box" in _hops(endpoint)["failure"]
    del engine.containers[CONTAINER]
    assert _hops(endpoint)["remedy"] == "./lab up box makes it again"


def test_no_engine_is_the_first_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    walk = check_in_docker(PROJECT, MODEL, "http://127.0.0.1:9/v1", stack="box")
    assert walk.failure is not None
    assert "docker is broken: Docker is not here" in walk.failure.message


def test_the_log_of_our_container_is_read_whole(engine: FakeDocker) -> None:
    engine.logs[CONTAINER] = "INFO one\nINFO two\n"
    assert container_logs(PROJECT, [MODEL, "other"], stack="box") == {MODEL: "INFO one\nINFO two\n"}
    assert container_logs(PROJECT, [MODEL], stack="another") == {}


def test_a_log_stream_that_was_cut_in_a_frame_gives_what_there_is() -> None:
    frame = b"\x01\0\0\0\0\0\0\x06hello\n"
    assert _text(frame + frame[:10]) == "hello\nhe"
