"""A key for one model asks the others."""

from __future__ import annotations

import httpx

from probes.task_hops import PATHS
from probes.verify.target import CHAT, Target, chat_body
from probes.verify.tasks import ask, task_body

_JSON = {"content-type": "application/json"}
_NEVER = (httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE)


def narrow_key(t: Target) -> str:
    """A key for one model reaches it, and no other model or alias: not by the body, not by the address."""
    if not t.narrow_key:
        return ""
    own = ask(t, t.models[0], key=t.narrow_key)
    if own.status_code == httpx.codes.FORBIDDEN or own.is_server_error:
        return f"{own.status_code} to its own model"
    found = {}
    for name in _others(t):
        task = t.tasks.get(t.aliases.get(name, (name,))[0], "chat")
        if task == "transcription":
            answers = [ask(t, name, key=t.narrow_key)]
        else:
            body, path = task_body(task, name, "Hi"), f"/v1/{PATHS[task]}"
            bare = {key: value for key, value in body.items() if key != "model"}
            asked = ((path, body), (f"/models/{name}{path}", body), (f"/models/{name}{path}", bare))
            answers = [t.ask("POST", address, key=t.narrow_key, json=told) for address, told in asked]
        codes = [answer.status_code for answer in answers]
        if set(codes) != {httpx.codes.FORBIDDEN}:
            found[name] = codes
    return f"reaches {found}" if found else ""


def narrow_key_tricks(t: Target) -> str:
    """The same with a body that names two models, escapes, headers that name the right one or the right client."""
    others = [name for name in _others(t) if t.tasks.get(t.aliases.get(name, (name,))[0], "chat") == "chat"]
    if not t.narrow_key or not others or not t.chats:
        return ""
    own, other = t.models[0], others[0]
    two = f'{{"model": "{own}", "messages": [], "\\u006dodel": "{other}"}}'.encode()
    chunked = iter((f'{{"model": "{own}", '.encode(), f'"messages": [], "model": "{other}"}}'.encode()))
    claims = {"x-model": own, "x-client-id": "lab", "x-model-status": "missing"}
    found = {
        "two models": t.ask("POST", CHAT, key=t.narrow_key, content=two, headers=_JSON),
        "in parts": t.ask("POST", CHAT, key=t.narrow_key, content=chunked, headers=_JSON),
        "headers": t.chat(other, key=t.narrow_key, headers=claims),
        "the other's address": t.ask("POST", f"/models/{other}{CHAT}", key=t.narrow_key, json=chat_body(own, "Hi")),
        "its own address": t.ask("POST", f"/models/{own}{CHAT}", key=t.narrow_key, json=chat_body(other, "Hi")),
    }
    passed = {name: answer.status_code for name, answer in found.items() if answer.status_code in _NEVER}
    return f"pass: {passed}" if passed else ""


def _others(t: Target) -> list[str]:
    return [*t.models[1:], *t.aliases]
