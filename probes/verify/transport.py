"""What is on the wire, in files and in logs."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import time
import warnings

import httpx

from probes.verify.target import CHAT, Target, chat_body

_LOG_SECONDS = 3.0


def certificate(t: Target) -> str:
    """The certificate is of the stack's own authority and for this address."""
    if t.authority is None:
        return "no TLS"
    try:
        with t.connection():
            return ""
    except ssl.SSLError as error:
        return str(error)


def old_tls(t: Target) -> str:
    """TLS 1.0 and 1.1 are refused."""
    if t.authority is None:
        return "no TLS"
    found = []
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = t.trust()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version, context.maximum_version = version, version
        plain = socket.create_connection((t.host, t.port), timeout=10)
        with contextlib.suppress(ssl.SSLError, OSError), plain, context.wrap_socket(plain, server_hostname=t.host):
            found.append(version.name)
    return f"speaks {', '.join(found)}" if found else ""


def plain_text(t: Target) -> str:
    """Nothing is answered without TLS."""
    try:
        answer = httpx.get(f"http://{t.host}:{t.port}/v1/models", trust_env=False, timeout=10)
    except httpx.HTTPError:
        return ""
    return f"{answer.status_code} in plain text"


def error_shape(t: Target) -> str:
    """Refusals are in the shape of OpenAI's errors, so that clients can read them."""
    answers = {"401": t.chat(), "404": t.ask("GET", "/no", key=t.key), "400": t.ask("POST", CHAT, key=t.key)}
    wrong = [status for status, answer in answers.items() if not _has_shape(answer)]
    return f"no JSON error: {', '.join(wrong)}" if wrong else ""


def fingerprint(t: Target) -> str:
    """Answers do not say which programs are behind."""
    answer = t.chat(key=t.key)
    said = [f"{k}: {v}" for k, v in answer.headers.items() if k.startswith("x-envoy") or k in ("via", "x-powered-by")]
    server = answer.headers.get("server", "")
    return f"says {', '.join([*said, f'server: {server}'])}" if said or server not in ("", "local-ai-lab") else ""


def log_canary(t: Target) -> str:
    """A prompt, a query and a key are not in the log, and the request itself is."""
    canary = f"canary-{secrets.token_hex(8)}"
    t.ask(
        "POST", CHAT, key=t.key, params={"q": canary}, json=chat_body(t.models[0], canary), headers={"x-note": canary}
    )
    t.ask("POST", CHAT, key=t.key, json=chat_body(canary, canary))
    end = time.monotonic() + _LOG_SECONDS
    while CHAT not in (text := t.log()) and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(0.5)
    text = t.log()
    if canary in text or t.key in text:
        return "the log holds a prompt or a key"
    return "" if CHAT in text else "the log does not show the request, so that nothing can be said of it"


def private_files(t: Target) -> str:
    """Files with secrets are their owner's alone."""
    wrong = [path.name for path in t.private_files if path.stat().st_mode & 0o077]
    return f"others may read {', '.join(wrong)}" if wrong else ""


def engines_closed(t: Target) -> str:
    """The ports that engines would have without a gateway are closed."""
    found = []
    for port in t.closed_ports:
        with contextlib.suppress(OSError), socket.create_connection((t.engine_host, port), timeout=2):
            found.append(f"{t.engine_host}:{port}")
    return f"open: {', '.join(found)}" if found else ""


def _has_shape(answer: httpx.Response) -> bool:
    try:
        error = answer.json()["error"]
        return (
            set(error) == {"message", "type", "param", "code"} and answer.headers["content-type"] == "application/json"
        )
    except (ValueError, KeyError, TypeError):
        return False
