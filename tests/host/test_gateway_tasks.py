"""A gateway before models for several tasks, one of them with a LoRA adapter: which paths lead to which, and what a
form with a file may be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from components.gateway.envoy_route_manifests import RERANK_PATHS, SPEECH_PATH
from probes.task_hops import tones
from probes.verify import suite
from probes.verify.target import CHAT, Target, chat_body
from tests.support.live_gateway import LiveGateway, answering, wait_until

pytestmark = pytest.mark.long
TASKS = {"a": "chat", "b": "rerank", "c": "transcription"}
MIB = 2**20


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with answering(tmp_path_factory.mktemp("home"), tasks=TASKS, adapters={"a": ("sql",)}) as made:
        target = made.target()
        wait_until(lambda: _sent(target, tones()).status_code == 200)
        yield made


def _sent(target: Target, sound: bytes, model: str = "c") -> httpx.Response:
    return target.ask("POST", SPEECH_PATH, key=target.key, data={"model": model}, files={"file": ("a.wav", sound)})


def test_every_probe_passes(target: Target) -> None:
    assert [(o.name, o.finding) for o in suite.run(target) if o.finding] == []


def test_an_adapter_is_asked_for_by_its_name_and_answered_by_its_model_s_engine(
    front: LiveGateway, target: Target
) -> None:
    for path in (CHAT, f"/models/sql{CHAT}"):
        answer = target.ask("POST", path, key=front.key, json=chat_body("sql", "Hi"))
        assert (answer.status_code, answer.json()["model"]) == (200, "sql")
        assert json.loads(front.engines["a"].seen[-1][2])["model"] == "sql"
    listed = target.ask("GET", "/v1/models", key=front.key).json()["data"]
    assert [row["id"] for row in listed][:2] == ["a", "sql"]
    assert target.ask("POST", CHAT, json=chat_body("sql", "Hi")).status_code == 401
    assert target.ask("POST", f"/models/a{CHAT}", key=front.key, json=chat_body("sql", "Hi")).status_code == 404


@pytest.mark.parametrize("path", RERANK_PATHS)
def test_documents_are_ordered_by_the_model_that_the_body_names(front: LiveGateway, target: Target, path: str) -> None:
    body = {"model": "b", "query": "x", "documents": ["y"]}
    assert target.ask("POST", path, json=body).status_code == 401
    assert target.ask("POST", path, key=front.key, json=body).status_code == 200
    seen, headers, _ = front.engines["b"].seen[-1]
    assert (seen, headers["authorization"]) == (path, f"Bearer {front.engines['b'].key}")


def test_a_file_of_sound_reaches_the_engine_for_speech_whole_and_with_its_key(
    front: LiveGateway, target: Target
) -> None:
    sound = b"RIFF" + b"\0" * (20 * MIB)  # five times what a body of JSON may be
    assert _sent(target, sound).status_code == 200
    path, headers, body = front.engines["c"].seen[-1]
    assert (path, headers["authorization"]) == (SPEECH_PATH, f"Bearer {front.engines['c'].key}")
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert sound in body
    assert not {"x-model", "x-model-status"} & set(headers)


def test_a_file_beyond_the_limit_and_one_without_a_key_reach_nobody(front: LiveGateway, target: Target) -> None:
    before = len(front.engines["c"].seen)
    head = target.head("POST", SPEECH_PATH, key=front.key, content_type="multipart/form-data; boundary=a",
                       content_length=str(26 * MIB + 1))  # fmt: skip
    assert target.raw(head + b"--a") == 413
    assert target.ask("POST", SPEECH_PATH, data={"model": "c"}, files={"file": ("a.wav", b"x")}).status_code == 401
    assert len(front.engines["c"].seen) == before


def test_a_body_of_json_that_names_the_model_for_speech_is_told_that_there_is_none(
    front: LiveGateway, target: Target
) -> None:
    assert target.ask("POST", CHAT, key=front.key, json=chat_body("c", "Hi")).status_code == 404
