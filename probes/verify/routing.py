"""Which model answers, and that addresses, names and sessions lead nowhere else."""

from __future__ import annotations

import re

import httpx

from probes.verify.access import refused
from probes.verify.target import CHAT, Target, chat_body
from probes.verify.tasks import ask

_BELOW = (
    "/metrics", "/v1/load_lora_adapter", "/v1/../metrics", "/v1/../../../metrics", "/v1/models/../../metrics",
    "/v1/..%2fmetrics", "/v1/%2e%2e/metrics", "/v1//../metrics", "/v1/chat/completions/../../../metrics", "/tokenize",
)  # fmt: skip
_SESSIONS = ("127.0.0.1:8000", "MTI3LjAuMC4xOjgwMDA=", '"MTI3LjAuMC4xOjgwMDA="', "0", "../a")
_RANDOM = re.compile(r'[\w-]+="?[0-9a-f]{8,32}"?')


def right_model(t: Target) -> str:
    """Each model answers to its name."""
    found = {name: ask(t, name) for name in t.models}
    wrong = [n for n, a in found.items() if a.status_code != httpx.codes.OK or a.json().get("model", n) != n]
    return f"not answered by itself: {', '.join(wrong)}" if wrong else ""


def right_alias(t: Target) -> str:
    """Each alias is answered by a model that it stands for."""
    found = {name: ask(t, name, task=t.tasks.get(behind[0], "chat")) for name, behind in t.aliases.items()}
    wrong = [
        n for n, a in found.items() if a.status_code != httpx.codes.OK or a.json().get("model") not in t.aliases[n]
    ]
    return f"answered by another model: {', '.join(wrong)}" if wrong else ""


def listing(t: Target) -> str:
    """The list names the stack's models and aliases, and nothing else."""
    listed = [str(row["id"]) for row in t.ask("GET", "/v1/models", key=t.key).json()["data"]]
    return "" if sorted(listed) == sorted([*t.models, *t.aliases]) else f"lists {', '.join(listed)}"


def model_paths_without_key(t: Target) -> str:
    """The address of one model without a key; one that is not there says the same."""
    found = {
        name: t.ask("POST", f"/models/{name}{CHAT}", json=chat_body(name, "Hi")).status_code
        for name in (*t.models, *t.aliases, "no-such-model")
    }
    return "" if set(found.values()) == {httpx.codes.UNAUTHORIZED} else f"answers {found}"


def model_paths(t: Target) -> str:
    """Below the address of one model there is no path that a client does not need."""
    found = {}
    for name in (t.models[0], "no-such-model"):
        for path in _BELOW:
            status = t.raw(t.head("GET", f"/models/{name}{path}", key=t.key))
            if not 300 <= status < 500:
                found[f"{name}{path}"] = status
    unknown = t.ask("POST", f"/models/no-such-model{CHAT}", key=t.key, json=chat_body(t.models[0], "Hi"))
    if unknown.status_code != httpx.codes.NOT_FOUND:
        found["no-such-model"] = unknown.status_code
    return f"pass: {found}" if found else ""


def model_path_of_another(t: Target) -> str:
    """A body that names another model than the address does is not passed on, and the right one is."""
    if not t.chats:
        return ""
    path = f"/models/{t.models[0]}{CHAT}"
    right = t.ask("POST", path, key=t.key, json=chat_body(t.models[0], "Hi"))
    if right.status_code != httpx.codes.OK or right.json().get("model") != t.models[0]:
        return f"{right.status_code} to the right model"
    return refused(
        t.ask("POST", path, key=t.key, json=chat_body((*t.models[1:], "no-such-model")[0], "Hi")), httpx.codes.NOT_FOUND
    )


def session(t: Target) -> str:
    """A cookie of the gateway is a random number that scripts, other sites and plain text do not get; what a client
    sends in its place chooses no address.
    """
    if not t.chats:
        return ""
    for sent in _SESSIONS:
        answer = t.chat(key=t.key, headers={"cookie": f"{t.session_cookie or 'session'}={sent}"})
        if answer.status_code != httpx.codes.OK or answer.json().get("model") != t.models[0]:
            return f"{answer.status_code} with the session {sent}"
    given = t.chat(key=t.key).headers.get_list("set-cookie")
    if not t.session_cookie:
        return f"gives out {', '.join(given)}" if given else ""
    words = [word.strip() for word in (given or [""])[0].split(";")]
    wanted = {"httponly", "samesite=strict", *(["secure"] if t.authority else [])}
    if len(given) != 1 or not _RANDOM.fullmatch(words[0]) or not words[0].startswith(f"{t.session_cookie}="):
        return f"gives out {', '.join(given) or 'no cookie'}"
    missing = wanted - {word.lower() for word in words}
    return f"a cookie without {', '.join(sorted(missing))}" if missing else ""
