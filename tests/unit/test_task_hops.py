"""What the inference check asks of models for other things than chat, and when it is not content."""

from __future__ import annotations

import io
import json
import wave
from typing import Any

import httpx
import pytest

from probes.hops import Walk
from probes.task_hops import ASKS, tones
from stacks.errors import CheckFailed

URL = "http://127.0.0.1:8000/v1"


def asked(task: str, answer: Any, status: int = 200) -> tuple[Walk, httpx.Request]:
    """The walk with one hop, and what was sent."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, json=answer)

    walk = Walk("m", URL)
    name, ask = ASKS[task]
    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        walk.hop(name, lambda: ask(client, URL, "m", walk))
    return walk, seen[0]


def vectors(*rows: list[float]) -> dict[str, Any]:
    """As vLLM answers, the last first: it is the index that counts."""
    return {"data": [{"index": n, "embedding": row} for n, row in reversed(list(enumerate(rows)))]}


def scores(*pairs: tuple[int, float]) -> dict[str, Any]:
    return {"results": [{"index": n, "relevance_score": score, "document": {"text": "x"}} for n, score in pairs]}


def heard(seconds: int, text: Any = " you") -> dict[str, Any]:
    return {"text": text, "usage": {"type": "duration", "seconds": seconds}}


GOOD = {
    "completion": {"choices": [{"text": " Paris."}], "usage": {"completion_tokens": 3}},
    "embedding": vectors([1.0, 0.1], [0.9, 0.2], [-0.2, 1.0]),
    "rerank": scores((1, 0.98), (0, 0.02), (2, 0.01)),
    "transcription": heard(3),
}


@pytest.mark.parametrize("task", ASKS)
def test_an_answer_that_makes_sense_is_sound(task: str) -> None:
    walk, request = asked(task, GOOD[task])
    assert walk.failure is None, walk.failure
    paths = {"completion": "completions", "embedding": "embeddings", "transcription": "audio/transcriptions"}
    assert str(request.url) == f"{URL}/{paths.get(task, task)}"
    assert b'"m"' in request.content or b'name="model"\r\n\r\nm\r\n' in request.content


@pytest.mark.parametrize(
    ("task", "answer", "said"),
    [
        ("completion", {"choices": [{"text": " "}]}, "the answer is empty"),
        ("embedding", vectors([1.0, 0.0], [0.0, 1.0], [1.0, 0.0]), "no nearer than others"),
        ("embedding", vectors([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]), "no numbers"),
        ("embedding", vectors([1.0], [1.0, 1.0], [1.0]), "different lengths"),
        ("embedding", vectors([1.0, 0.0], [1.0, 0.0]), "no engine gives"),
        ("rerank", scores((0, 0.9), (1, 0.5), (2, 0.1)), "not the first"),
        ("rerank", scores((1, 0.5), (0, 0.5), (2, 0.5)), "not the first"),
        ("rerank", scores((1, 0.9), (0, 0.1)), "does not score every document"),
        ("rerank", {"data": []}, "no engine gives"),
        ("transcription", heard(1), "heard 1 s"),
        ("transcription", heard(3, None), "heard 3 s"),
        ("transcription", {"text": "you"}, "no engine gives"),
    ],
)
def test_an_answer_that_makes_none_is_named(task: str, answer: Any, said: str) -> None:
    walk, _ = asked(task, answer)
    assert walk.failure and said in walk.failure.message


def test_an_engine_that_cannot_decode_sound_is_told_to_need_another_image() -> None:
    refused = {"error": {"message": "Invalid or unsupported audio file.", "code": 400}}
    walk, _ = asked("transcription", refused, 400)
    assert walk.failure and "Invalid or unsupported audio file" in walk.failure.message
    assert "vllm[audio]" in walk.failure.remedy


def test_the_sound_is_three_seconds_of_16_khz_and_not_silent() -> None:
    with wave.open(io.BytesIO(tones())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert file.getnframes() == 3 * 16_000
        frames = file.readframes(16_000)
    samples = [int.from_bytes(frames[n : n + 2], "little", signed=True) for n in range(0, len(frames), 2)]
    assert max(samples) > 7000 and min(samples) < -7000


def test_a_refusal_is_a_failed_check_and_no_exception() -> None:
    walk, request = asked("rerank", {"error": "x"}, 404)
    assert isinstance(walk.failure, CheckFailed)
    assert json.loads(request.content)["documents"]
