"""Who gets in, and to what."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import httpx

from probes.verify.target import CHAT, Target, chat_body, chat_bytes

FORBIDDEN = (
    "/metrics", "/docs", "/openapi.json", "/tokenize", "/detokenize", "/invocations", "/version", "/load",
    "/server_info", "/health", "/ping", "/sleep", "/wake_up", "/reset_prefix_cache", "/collective_rpc",
    "/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/config_dump", "/stats", "/",
)  # fmt: skip
"""Paths that vLLM, its development mode or Envoy's administration answer, and no client needs."""

ROUTING = (
    "routing-strategy", "Routing-Strategy", "ROUTING-STRATEGY", "target-pod", "Target-Pod", "target-pod-ip",
    "x-envoy-original-dst-host", "x-original-url", "x-model", "external-filter", "x-forwarded-host", "user",
)  # fmt: skip
"""Headers by which gateways were made to skip their checks."""

_METHODS = ("GET", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")
_DENIED = httpx.codes.UNAUTHORIZED


def refused(answer: httpx.Response, status: int) -> str:
    """Empty where the answer has the status; else what came instead."""
    return "" if answer.status_code == status else f"{answer.status_code} instead of {status}"


def no_key(t: Target) -> str:
    """A completion without a key."""
    return refused(t.chat(), _DENIED)


def wrong_key(t: Target) -> str:
    """A completion with a key that was never made."""
    return refused(t.chat(key=f"sk-lab-{secrets.token_urlsafe(32)}"), _DENIED)


def revoked_key(t: Target) -> str:
    """A completion with a key that was revoked."""
    return refused(t.chat(key=t.revoked_key), _DENIED)


def key_prefix(t: Target) -> str:
    """A key without its last character."""
    return refused(t.chat(key=t.key[:-1]), _DENIED)


def key_in_query(t: Target) -> str:
    """A key in the address, where logs and histories would keep it."""
    found = [t.chat(params={name: t.key}).status_code for name in ("api_key", "key", "access_token")]
    return "" if set(found) == {_DENIED} else f"answers {found}"


def list_without_key(t: Target) -> str:
    """The list of models without a key."""
    return refused(t.ask("GET", "/v1/models"), _DENIED)


def enumeration(t: Target) -> str:
    """Without a key nothing tells a model that is there from one that is not."""
    known, unknown = t.chat(), t.chat("no-such-model")
    same = (known.status_code, known.text) == (unknown.status_code, unknown.text)
    return (
        "" if same and known.status_code == _DENIED else f"{known.status_code} and {unknown.status_code} differ or pass"
    )


def bypass_without_key(t: Target) -> str:
    """Headers by which other gateways choose a backend, without a key."""
    found = {}
    for name in ROUTING:
        for path in (CHAT, "/metrics"):
            answer = t.ask("POST", path, json=chat_body(t.models[0], "Hi"), headers={name: "127.0.0.1:8000"})
            if answer.status_code != _DENIED:
                found[f"{name} {path}"] = answer.status_code
    return f"pass: {found}" if found else ""


def bypass_with_key(t: Target) -> str:
    """The same with a key: the path is refused, and the model is still the body's."""
    found = {}
    for name in ROUTING:
        headers = {name: "127.0.0.1:8000" if name != "x-model" else t.models[0]}
        answers = [t.ask("GET", "/metrics", key=t.key, headers=headers)]
        answers.append(t.ask("POST", CHAT, key=t.key, json=chat_body("no-such-model", "Hi"), headers=headers))
        answers.append(t.ask("POST", CHAT, key=t.key, content=b"no JSON", headers=headers))
        codes = [answer.status_code for answer in answers]
        if any(code < 400 or code >= 500 for code in codes):
            found[name] = codes
    return f"pass: {found}" if found else ""


def underscores(t: Target) -> str:
    """A header with an underscore, which some programs read as the one with a hyphen."""
    return refused(t.chat(key=t.key, headers={"x_model": t.models[0]}), 400)


def methods(t: Target) -> str:
    """Other methods than POST on a completion."""
    found = {}
    for method in _METHODS:
        status = t.raw(t.head(method, CHAT, key=t.key))
        if not 400 <= status < 500:
            found[method] = status
    return f"pass: {found}" if found else ""


def traversal(t: Target) -> str:
    """Paths that become a forbidden one when dots, slashes or escapes are resolved."""
    found = {}
    for path in (
        "/v1/models/../../metrics", "/v1/models/..%2f..%2fmetrics", "//metrics", "/v1//../metrics",
        "/v1/%2e%2e/metrics",
        "/v1/models%00/../../metrics", "/v1\\..\\metrics", "/METRICS", "/metrics;a=b", "/metrics/",
    ):  # fmt: skip
        status = t.raw(t.head("GET", path, key=t.key))
        if not 300 <= status < 500:
            found[path] = status
    return f"pass: {found}" if found else ""


def wrong_host(t: Target) -> str:
    """A name that is not the gateway's: a web page that had its own name point here."""
    body = chat_bytes(t.models[0])
    head = t.head(
        "POST", CHAT, key=t.key, host="attacker.example", content_type="application/json", content_length=str(len(body))
    )
    status = t.raw(head + body)
    return "" if status == 421 else f"{status} instead of 421"


def preflight(t: Target) -> str:
    """A browser asks whether a page of another origin may call."""
    asked = {"origin": "https://attacker.example", "access-control-request-method": "POST"}
    answer = t.ask("OPTIONS", CHAT, headers=asked)
    return _no_cors(answer) if answer.is_error else f"{answer.status_code} to a preflight"


def no_cors(t: Target) -> str:
    """An answer to another origin says nothing that lets a page read it."""
    return _no_cors(t.chat(key=t.key, headers={"origin": "https://attacker.example"}))


def upgrade(t: Target) -> str:
    """A connection that asks to become another protocol."""
    head = t.head("GET", "/v1/models", key=t.key, connection="upgrade", upgrade="websocket", sec_websocket_version="13")
    status = t.raw(head)
    return "" if status != 101 and status < 500 and status else f"{status}"


def forbidden(path: str) -> Callable[[Target], str]:
    """The probe of one path: with a key there is nothing, without one it is not even said."""

    def probe(t: Target) -> str:
        found = [t.ask(method, path, key=t.key).status_code for method in ("GET", "POST")]
        bare = t.ask("GET", path).status_code
        return "" if found == [404, 404] and bare == _DENIED else f"with a key {found}, without {bare}"

    probe.__doc__ = f"{path} is not reached."
    return probe


def _no_cors(answer: httpx.Response) -> str:
    said = [name for name in answer.headers if name.startswith("access-control-")]
    return f"says {', '.join(said)}" if said else ""
