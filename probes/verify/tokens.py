"""Tokens that nobody gave out: they are refused where tokens are taken, and where only keys are."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from typing import Any

import httpx

from probes.verify.target import CHAT, Target, chat_body

_DENIED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
_SCHEMES = ("Bearer ", "bearer ", "BEARER ", "Bearer  ", "")
_NAMES = ("x-client-id", "x-token-client", "x-jwt-payload")


def forged_token(t: Target) -> str:
    """A token without a signature, with one that is made up, and with one by a guessed secret."""
    found = {}
    for kind, token in _forged(t).items():
        for scheme in _SCHEMES:
            for path in (CHAT, f"/models/{t.models[0]}{CHAT}", "/metrics"):
                answer = t.ask(
                    "POST", path, json=chat_body(t.models[0], "Hi"), headers={"authorization": f"{scheme}{token}"}
                )
                if answer.status_code not in _DENIED:
                    found[f"{kind} {scheme}{path}"] = answer.status_code
    return f"pass: {found}" if found else ""


def token_elsewhere(t: Target) -> str:
    """A token beside another one, in the address, or in a cookie."""
    token = _forged(t)["made up"]
    body = chat_body(t.models[0], "Hi")
    two = [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")]
    found = {
        "twice": t.ask("POST", CHAT, json=body, headers=two),
        "beside a wrong key": t.ask("POST", CHAT, json=body, headers=[("authorization", "Bearer sk-lab-a"), two[0]]),
        "address": t.ask("POST", CHAT, json=body, params={"access_token": token}),
        "cookie": t.ask("POST", CHAT, json=body, headers={"cookie": f"access_token={token}"}),
    }
    passed = {name: answer.status_code for name, answer in found.items() if answer.status_code not in _DENIED}
    return f"pass: {passed}" if passed else ""


def claimed_name(t: Target) -> str:
    """A client's name that the request itself says, with a token that nobody gave out and without one."""
    headers = dict.fromkeys(_NAMES, "lab")
    told = [{}, {"authorization": f"Bearer {_forged(t)['no signature']}"}]
    found = [t.ask("POST", CHAT, json=chat_body(t.models[0], "Hi"), headers=headers | own).status_code for own in told]
    return "" if set(found) <= set(_DENIED) else f"answers {found}"


def _forged(t: Target) -> dict[str, str]:
    """JWTs with the claims that a right one would have, by how they are signed."""
    guessed = _unsigned(t, "HS256")
    return {
        "no signature": f"{_unsigned(t, 'none')}.",
        "a guessed secret": f"{guessed}.{_text(hmac.digest(b'secret', guessed.encode(), 'sha256'))}",
        "made up": f"{_unsigned(t, 'RS256')}.{_text(secrets.token_bytes(256))}",
    }


def _unsigned(t: Target, algorithm: str) -> str:
    now = int(time.time())
    claims = {"iss": t.issuer, "aud": t.audience, "sub": "lab", "iat": now, "exp": now + 600}
    parts: tuple[dict[str, Any], ...] = ({"typ": "JWT", "alg": algorithm}, claims)
    return ".".join(_text(json.dumps(part).encode()) for part in parts)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
