"""What is asked of models for something else than chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from probes.task_hops import PATHS, tones
from probes.verify.access import refused
from probes.verify.target import Target, chat_body

_LONGER: Final = 27 * 2**20  # bytes: more than any file that vLLM takes by default
_SPEECH: Final = "/v1/" + PATHS["transcription"]
_FORM: Final = "multipart/form-data; boundary=a"


def task_body(task: str, model: str, text: str) -> dict[str, Any]:
    """The JSON body of a short request for the task."""
    own: Mapping[str, dict[str, Any]] = {
        "completion": {"prompt": text, "max_tokens": 1},
        "embedding": {"input": text},
        "rerank": {"query": "Hi", "documents": [text]},
    }
    return {"model": model, **own[task]} if task in own else chat_body(model, text)


def ask(t: Target, model: str, text: str = "Hi", task: str | None = None, *, key: str | None = None) -> httpx.Response:
    """What the model is for, in one short request; `task` of an alias, `key` another one than the target's."""
    key = key or t.key
    task = task or t.tasks.get(model, "chat")
    if task == "transcription":
        return t.ask("POST", _SPEECH, key=key, data={"model": model}, files={"file": ("a.wav", tones())})
    return t.ask("POST", f"/v1/{PATHS[task]}", key=key, json=task_body(task, model, text))


def speech_too_long(t: Target) -> str:
    """A file of sound larger than the limit is refused by its stated length, before it is read."""
    if not _speech(t):
        return ""
    head = t.head("POST", _SPEECH, key=t.key, content_type=_FORM, content_length=str(_LONGER))
    status = t.raw(head + b"--a\r\n")
    return "" if status == 413 else f"{status} instead of 413"


def speech_without_length(t: Target) -> str:
    """A form whose length is not said, so that it could be without end."""
    if not _speech(t):
        return ""
    head = t.head("POST", _SPEECH, key=t.key, content_type=_FORM, transfer_encoding="chunked")
    status = t.raw(head + b"5\r\n--a\r\n\r\n0\r\n\r\n")
    return "" if status == 400 else f"{status} instead of 400"


def speech_other_type(t: Target) -> str:
    """What is no form does not reach an engine for speech."""
    if not _speech(t):
        return ""
    return refused(t.ask("POST", _SPEECH, key=t.key, json={"model": t.models[0]}), 400)


def _speech(t: Target) -> bool:
    return "transcription" in t.tasks.values()
