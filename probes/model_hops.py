"""The hops of the inference check that ask the model itself, over HTTP: the same wherever it runs."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from probes.hops import Walk
from stacks.errors import CheckFailed

ROUTE_SECONDS = 10.0
"""How long a port may refuse: kube-proxy gathers changes for 1 s, and a busy machine needs a few more."""

_MAX_TOKENS = 32
_QUESTION = "What is the capital of France?"


def models(client: httpx.Client, endpoint: str, model: str) -> str:
    """The model is among those that are served. Raises CheckFailed."""
    _await_route(client, f"{endpoint}/models")
    served = [entry.get("id") for entry in answer_json(client, "GET", f"{endpoint}/models")["data"]]
    if model not in served:
        raise CheckFailed(
            f"serves {served}, not {model}", remedy="another service answers on this port; give the model another port"
        )
    return f"serves {model}"


def _await_route(client: httpx.Client, url: str) -> None:
    """A node's proxy learns of a new Service a moment after the API server did; until then its port refuses."""
    end = time.monotonic() + ROUTE_SECONDS
    while time.monotonic() < end:
        try:
            client.get(url)
        except httpx.ConnectError:
            time.sleep(0.2)
        except httpx.HTTPError:
            break  # the hop itself says what is wrong
        else:
            break


def chat(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    """An answer in the model's own words, and how fast it came. Raises CheckFailed."""
    begin = time.perf_counter()
    answer = answer_json(client, "POST", f"{endpoint}/chat/completions", json=_request(model))
    seconds = time.perf_counter() - begin
    text = (answer["choices"][0]["message"].get("content") or "").strip()
    if not text:
        raise CheckFailed(
            "the answer is empty", remedy="the model's chat template may be wrong; look at the engine's log"
        )
    tokens = answer.get("usage", {}).get("completion_tokens", 0)
    walk.figures |= {
        "question": _QUESTION,
        "text": text,
        "completionTokens": tokens,
        "tokensPerSecond": round(tokens / seconds, 1),
    }
    return f"{tokens} tokens, {tokens / seconds:.1f} tokens/s: {short(text)}"


def stream(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    """The same answer piece by piece, and when the first came. Raises CheckFailed."""
    begin, first, pieces = time.perf_counter(), 0.0, 0
    try:
        with client.stream(
            "POST", f"{endpoint}/chat/completions", json={**_request(model), "stream": True}
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise CheckFailed(f"streaming answers {response.status_code}", remedy="look at the engine's log")
            for line in response.iter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"][0].get("delta", {}).get("content"):
                    first = first or time.perf_counter() - begin
                    pieces += 1
    except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
        raise CheckFailed(f"the stream broke: {error!r}", remedy="look at the engine's log") from None
    if not pieces:
        raise CheckFailed("the stream holds no text", remedy="look at the engine's log")
    walk.figures["timeToFirstTokenSeconds"] = round(first, 3)
    return f"first token after {first * 1e3:.0f} ms, {pieces} pieces"


def _request(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": _MAX_TOKENS,
        "temperature": 0,
        "stop": ["\nUser:"],
    }


def answer_json(client: httpx.Client, method: str, url: str, **sent: Any) -> dict[str, Any]:
    """The JSON that a request is answered with; `sent` is httpx's `json`, or `data` and `files`. Raises CheckFailed."""
    try:
        response = client.request(method, url, **sent)
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"{url} does not answer: {error!r}", remedy="the port may be blocked or taken; see: ss -ltn"
        ) from None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise CheckFailed(
            f"{url} refuses the key ({response.status_code})",
            remedy="the running engine has another apiKey; type: ./lab up",
        )
    if response.status_code != httpx.codes.OK:
        raise CheckFailed(
            f"{url} answers {response.status_code}: {short(response.text)}", remedy="look at the engine's log"
        )
    try:
        document: dict[str, Any] = response.json()
    except ValueError:
        raise CheckFailed(
            f"{url} answers no JSON: {short(response.text)}", remedy="another service answers on this port"
        ) from None
    return document


def short(text: str) -> str:
    """One line of at most 120 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:117]}..."
