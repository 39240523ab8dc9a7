"""The hop of the inference check that asks a model for what it is for, where that is no chat: one request, and whether
the answer makes sense.
"""

from __future__ import annotations

import io
import math
import struct
import time
import wave
from collections.abc import Callable, Mapping
from typing import Final

import httpx

from probes.hops import Walk
from probes.model_hops import answer_json, short
from stacks.errors import CheckFailed

Ask = Callable[[httpx.Client, str, str, Walk], str]

PATHS: Final[Mapping[str, str]] = {
    "chat": "chat/completions",
    "completion": "completions",
    "embedding": "embeddings",
    "rerank": "rerank",
    "transcription": "audio/transcriptions",
}
"""Where a task is asked for, below the endpoint."""

_BEGINNING = "The capital of France is"
_ALIKE = ("A cat sleeps on the sofa.", "A kitten is napping on the couch.", "The central bank raised interest rates.")
_QUESTION = "What is the capital of France?"
_DOCUMENTS = ("Bananas are rich in potassium.", "Paris is the capital of France.", "The match ended in a draw.")
_RIGHT = 1  # of the documents
_SECONDS, _RATE, _LOUDNESS = 3, 16_000, 8_000
_TONES = (440.0, 550.0, 660.0)  # Hz, one a second
_MAX_TOKENS = 32


def complete(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    """A text that is gone on with. Raises CheckFailed."""
    body = {"model": model, "prompt": _BEGINNING, "max_tokens": _MAX_TOKENS, "temperature": 0}
    begin = time.perf_counter()
    answer = answer_json(client, "POST", f"{endpoint}/{PATHS['completion']}", json=body)
    seconds = time.perf_counter() - begin
    text = answer["choices"][0]["text"].strip()
    if not text:
        raise CheckFailed("the answer is empty", remedy="look at the engine's log")
    tokens = answer.get("usage", {}).get("completion_tokens", 0)
    walk.figures |= {"question": _BEGINNING, "text": text, "completionTokens": tokens}
    return f"{tokens} tokens, {tokens / seconds:.1f} tokens/s: {short(text)}"


def embed(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    """Three texts, two of which mean the same: their vectors must be nearer to each other than to the third's. Raises
    CheckFailed.
    """
    url = f"{endpoint}/{PATHS['embedding']}"
    answer = answer_json(client, "POST", url, json={"model": model, "input": list(_ALIKE)})
    found = {item["index"]: item["embedding"] for item in answer["data"]}
    vectors = [[float(value) for value in found[n]] for n in range(len(_ALIKE))]
    sizes = {len(vector) for vector in vectors}
    if len(sizes) != 1 or not all(_is_vector(vector) for vector in vectors):
        raise CheckFailed(
            "the vectors are empty, of different lengths or no numbers", remedy="look at the engine's log"
        )
    same, other = _cosine(vectors[0], vectors[1]), _cosine(vectors[0], vectors[2])
    if same <= other:
        raise CheckFailed(
            f"texts that mean the same are no nearer than others (cosine {same:.3f} and {other:.3f})",
            remedy="the weights may be broken, or the model is none for embeddings; look at the engine's log",
        )
    walk.figures |= {"dimensions": len(vectors[0]), "cosineAlike": round(same, 4), "cosineUnlike": round(other, 4)}
    return f"{len(vectors[0])} dimensions; cosine {same:.2f} of texts alike, {other:.2f} of others"


def rerank(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    """A question and three documents, of which one answers it: that must be the first. Raises CheckFailed."""
    body = {"model": model, "query": _QUESTION, "documents": list(_DOCUMENTS)}
    answer = answer_json(client, "POST", f"{endpoint}/{PATHS['rerank']}", json=body)
    scores = {int(item["index"]): float(item["relevance_score"]) for item in answer["results"]}
    if sorted(scores) != list(range(len(_DOCUMENTS))) or not all(math.isfinite(s) for s in scores.values()):
        raise CheckFailed("the answer does not score every document", remedy="look at the engine's log")
    others = max(score for index, score in scores.items() if index != _RIGHT)
    if answer["results"][0]["index"] != _RIGHT or scores[_RIGHT] <= others:
        raise CheckFailed(
            f"the document that answers the question is not the first ({scores[_RIGHT]:.3f}, another has {others:.3f})",
            remedy="the weights may be broken, or the model wants another prompt; look at the engine's log",
        )
    walk.figures |= {"question": _QUESTION, "text": _DOCUMENTS[_RIGHT], "score": scores[_RIGHT], "nextScore": others}
    return f"the right document of {len(_DOCUMENTS)} is first: {scores[_RIGHT]:.3f}, the next {others:.3f}"


def transcribe(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    """Three seconds of tones as a WAV file: the engine must have decoded all of them, and answer with a text. Which
    words it hears in tones is not judged. Raises CheckFailed.
    """
    begin = time.perf_counter()
    form = {"model": model, "language": "en", "temperature": "0"}
    file = ("tones.wav", tones(), "audio/wav")
    try:
        answer = answer_json(client, "POST", f"{endpoint}/{PATHS['transcription']}", data=form, files={"file": file})
    except CheckFailed as error:
        if "unsupported audio" not in error.message:
            raise
        remedy = "the image has no packages that decode sound: install vllm[audio] in one of your own (docs/tasks.md)"
        raise CheckFailed(error.message, remedy=remedy) from None
    seconds = time.perf_counter() - begin
    heard = int(answer["usage"]["seconds"])
    if not isinstance(answer["text"], str) or heard != _SECONDS:
        raise CheckFailed(
            f"{_SECONDS} s of sound were sent, and the engine says that it heard {heard} s",
            remedy="look at the engine's log",
        )
    walk.figures |= {"audioSeconds": heard, "answerSeconds": round(seconds, 3)}
    return f"{heard} s of tones decoded and answered in {seconds:.1f} s; words are not judged"


def tones() -> bytes:
    """A WAV file of 16 kHz, mono, 16 bit: three tones of a second each."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        for tone in _TONES[:_SECONDS]:
            samples = (int(_LOUDNESS * math.sin(2 * math.pi * tone * n / _RATE)) for n in range(_RATE))
            file.writeframes(struct.pack(f"<{_RATE}h", *samples))
    return buffer.getvalue()


ASKS: Final[Mapping[str, tuple[str, Ask]]] = {
    "completion": ("completion", complete),
    "embedding": ("embedding", embed),
    "rerank": ("rerank", rerank),
    "transcription": ("transcribe", transcribe),
}
"""Hop and question by task; a chat is asked by model_hops.py."""


def _is_vector(vector: list[float]) -> bool:
    return bool(vector) and all(math.isfinite(value) for value in vector) and any(vector)


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True)) / (math.hypot(*one) * math.hypot(*other))
