"""What a request may be: its size, its pace, its form, how many there may be."""

from __future__ import annotations

import contextlib
import gzip
import time

import httpx

from probes.verify.access import refused
from probes.verify.target import CHAT, Target, chat_body, chat_bytes, first_status
from probes.verify.tasks import ask

_JSON = {"content-type": "application/json"}
_MALFORMED_SECONDS = 5.0
_LATE_SECONDS = 10.0  # what a timeout may be late by


def too_long(t: Target) -> str:
    """A body a little longer than the limit."""
    return refused(t.chat(key=t.key, text="a" * t.request_buffer), 413)


def too_long_without_key(t: Target) -> str:
    """A body without a key is refused before it is read: the answer comes while it is still to be sent."""
    size = 64 * t.request_buffer
    head = t.head("POST", CHAT, content_type="application/json", content_length=str(size))
    status = t.raw(head + b"{")
    return "" if status == 401 else f"{status} instead of 401"


def full_length(t: Target) -> str:
    """A prompt as long as the longest context passes: whatever answers, it is not the limit."""
    written = [model for model in t.models if t.tasks.get(model) != "transcription"]
    if not written:
        return ""
    answer = ask(t, written[0], "a " * (t.longest_prompt // 2))
    return (
        "" if answer.status_code not in (401, 404, 413, 431) and answer.status_code < 500 else f"{answer.status_code}"
    )


def batch(t: Target) -> str:
    """A batch of 256 texts to embed reaches the engine."""
    texts = ["a text of a few words"] * 256
    answer = t.ask("POST", "/v1/embeddings", key=t.key, json={"model": t.models[0], "input": texts})
    ours = answer.headers.get("server") == "local-ai-lab" and answer.status_code in (401, 413, 429)
    return f"{answer.status_code}" if ours or answer.status_code >= 500 else ""


def large_headers(t: Target) -> str:
    """Headers larger than the limit."""
    return refused(t.ask("GET", "/v1/models", key=t.key, headers={"x-padding": "a" * (t.header_bytes + 1024)}), 431)


def slow_body(t: Target) -> str:
    """A body that never ends is given up."""
    head = t.head("POST", CHAT, key=t.key, content_type="application/json", content_length="1000")
    return _given_up(t, head + b"{")


def slow_headers(t: Target) -> str:
    """Headers that never end are given up."""
    return _given_up(t, t.head("POST", CHAT, key=t.key)[:-2])


def length_and_chunks(t: Target) -> str:
    """Two lengths of one body: by Content-Length and by chunks."""
    head = t.head(
        "POST", CHAT, key=t.key, content_type="application/json", content_length="4", transfer_encoding="chunked"
    )
    body = chat_bytes(t.models[0])
    return _malformed(t, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) + _second(t))


def two_lengths(t: Target) -> str:
    """Two values of Content-Length."""
    head = t.head("POST", CHAT, key=t.key, content_type="application/json", content_length="4")
    return _malformed(t, head[:-2] + b"Content-Length: 60\r\n\r\n" + b"abcd" + _second(t))


def odd_encoding(t: Target) -> str:
    """A Transfer-Encoding that only some programs take for chunked."""
    head = t.head("POST", CHAT, key=t.key, content_type="application/json", transfer_encoding="xchunked")
    return _malformed(t, head + b"0\r\n\r\n" + _second(t))


def space_before_colon(t: Target) -> str:
    """A blank between a header's name and its colon."""
    head = t.head("POST", CHAT, key=t.key, content_type="application/json")
    return _malformed(t, head[:-2] + b"Content-Length : 4\r\n\r\nabcd" + _second(t))


def folded_header(t: Target) -> str:
    """A header that goes on in the next line."""
    head = t.head("POST", CHAT, key=t.key, content_type="application/json", content_length="4")
    return _malformed(t, head[:-2] + b"X-A: b\r\n\tTransfer-Encoding: chunked\r\n\r\nabcd" + _second(t))


def gzipped(t: Target) -> str:
    """A compressed body, which would have to be unpacked before it can be looked at."""
    packed = gzip.compress(chat_bytes(t.models[0]))
    return refused(t.ask("POST", CHAT, key=t.key, content=packed, headers={**_JSON, "content-encoding": "gzip"}), 400)


def other_type(t: Target) -> str:
    """A body that is not said to be JSON is not looked at and not passed on."""
    body = chat_bytes(t.models[0])
    found = [
        t.ask("POST", CHAT, key=t.key, content=body, headers={"content-type": kind}).status_code
        for kind in ("text/plain", "multipart/form-data; boundary=a", "application/x-www-form-urlencoded")
    ]
    return "" if set(found) == {400} else f"answers {found}"


def no_model(t: Target) -> str:
    """JSON without a model, and what is no JSON."""
    bodies = (b'{"messages": []}', b'{"x": {"model": "a"}}', b'{"model": ', b"[]", b"")
    found = [t.ask("POST", CHAT, key=t.key, content=body, headers=_JSON).status_code for body in bodies]
    return "" if set(found) == {400} else f"answers {found}"


def rate_limit(t: Target) -> str:
    """More requests in a minute than a key may send: another key goes on, and a stated client changes nothing."""
    with t.client(t.spare_key) as client:
        for _ in range(2 * t.requests_per_minute):
            answer = client.get("/v1/models")
            if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                break
        else:
            return f"none of {2 * t.requests_per_minute} requests was refused"
        if "retry-after" not in answer.headers:
            return "429 without Retry-After"
        again = [client.get("/v1/models", headers={"x-client-id": f"other-{n}"}).status_code for n in range(20)]
    if again.count(429) < 10:
        return f"x-client-id gave a limit of its own: {again}"
    other = t.ask("GET", "/v1/models", key=t.key).status_code
    return "" if other == httpx.codes.OK else f"another key got {other}"


def _given_up(t: Target, request: bytes) -> str:
    limit = t.body_seconds + _LATE_SECONDS
    began = time.monotonic()
    with t.connection(limit) as connection:
        connection.sendall(request)
        status = first_status(connection)
    if status == 408 or (status == 0 and time.monotonic() - began < limit):
        return ""
    return f"still open after {limit:g} s" if status == 0 else f"{status}"


def _malformed(t: Target, request: bytes) -> str:
    """One refusal, and the second request that was hidden in the first one is not answered."""
    found = b""
    with t.connection(_MALFORMED_SECONDS) as connection, contextlib.suppress(OSError):
        connection.sendall(request)
        while some := connection.recv(4096):
            found += some
    statuses = [int(line.split()[1]) for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    if not statuses or statuses[0] not in (400, 501):
        return f"{statuses[:1] or 'nothing'} instead of 400"
    return f"the second request was answered too: {statuses}" if len(statuses) > 1 else ""


def _second(t: Target) -> bytes:
    return t.head("GET", "/v1/models", key=t.key)


def unknown_model(t: Target) -> str:
    """A model that the stack does not have."""
    answer = t.ask("POST", CHAT, key=t.key, json=chat_body("no-such-model", "Hi"))
    return refused(answer, 404) or ("" if _code(answer) == "model_not_found" else f"code {_code(answer)}")


def _code(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return "none"
