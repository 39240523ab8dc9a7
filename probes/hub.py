"""Looks at a checkpoint on the Hugging Face Hub, through its documented HTTP API: what a repository holds, and its
small JSON files.

Where the Hub is (HF_ENDPOINT), the token (HF_TOKEN, or the file that `hf auth login` writes) and being offline
(HF_HUB_OFFLINE) are said
as Hugging Face's own tools take them. huggingface_hub itself would bring nine more packages for these few requests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from probes.checkpoint import LARGEST_JSON, Checkpoint, parse

ENDPOINT = "https://huggingface.co"
_FILES = ("model.safetensors.index.json", "tokenizer_config.json")
_SECONDS = 30.0
_TRUE = frozenset({"1", "true", "yes", "on"})
_COMMIT = re.compile(r"[0-9a-f]{40}")


class _Unreachable(Exception):
    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.said = (message, remedy)


def look(repository: str, revision: str | None = None, *, transport: httpx.BaseTransport | None = None) -> Checkpoint:
    """What the repository holds at `revision` (a commit, branch or tag; default: main), pinned to the commit that it is
    at.

    Never raises for what the Hub answers: that it does not answer, or refuses, stands in `problems`.
    """
    found = Checkpoint(where=f"{repository} on the Hugging Face Hub", repository=repository)
    try:
        with httpx.Client(
            base_url=_endpoint(),
            headers=_headers(),
            timeout=_SECONDS,
            transport=transport,
            follow_redirects=True,
            trust_env=True,
        ) as client:
            _look(client, repository, revision, found)
    except _Unreachable as error:
        found.problems.append(error.said)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found.problems.append(_no_network(repository, f"{_endpoint()}: {error or type(error).__name__}"))
    return found


def _look(client: httpx.Client, repository: str, revision: str | None, found: Checkpoint) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE:
        raise _Unreachable(*_no_network(repository, "HF_HUB_OFFLINE is set"))
    at = quote(revision or "main", safe="")
    answer = client.get(f"/api/models/{repository}/revision/{at}", params={"blobs": "true"})
    _check(answer, repository, revision)
    document = parse(answer.content)
    if not isinstance(document, dict) or not isinstance(document.get("siblings"), list):
        raise _Unreachable(
            "the Hub's answer is none that its documentation describes", "is HF_ENDPOINT right? it is " + _endpoint()
        )
    commit = document.get("sha")
    found.revision = commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None
    found.sizes = {
        str(s["rfilename"]): _size(s)
        for s in document["siblings"]
        if isinstance(s, dict) and "/" not in str(s.get("rfilename", "/"))
    }
    found.licence = _licence(document)
    tensors = document.get("safetensors")
    if isinstance(tensors, Mapping) and isinstance(tensors.get("parameters"), Mapping):
        found.elements = {str(k): v for k, v in tensors["parameters"].items() if isinstance(v, int)}
    at = found.revision or at
    found.read_config(_file(client, repository, at, "config.json", revision) if "config.json" in found.sizes else None)
    for name, take in zip(_FILES, (found.read_index, found.read_tokenizer), strict=True):
        if name in found.sizes and (data := _file(client, repository, at, name, revision)) is not None:
            take(data)
    found.chat_template |= "chat_template.jinja" in found.sizes or "chat_template.json" in found.sizes


def _file(client: httpx.Client, repository: str, commit: str, name: str, revision: str | None) -> bytes | None:
    with client.stream("GET", f"/{repository}/resolve/{commit}/{name}") as answer:
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            answer.read()
        _check(answer, repository, revision)
        data = bytearray()
        for part in answer.iter_bytes():
            data += part
            if len(data) > LARGEST_JSON:
                raise _Unreachable(
                    f"{name} is larger than {LARGEST_JSON:,} bytes", "that is no model's; choose another repository"
                )
    return bytes(data)


def _check(answer: httpx.Response, repository: str, revision: str | None) -> None:
    """Raises _Unreachable with what the Hub means; it says why in the header X-Error-Code."""
    if answer.is_success:
        return
    why = answer.headers.get("x-error-code", "")
    page = f"{_endpoint()}/{repository}"
    token = "set HF_TOKEN, or type: hf auth login"  # noqa: S105  (advice)
    if why == "GatedRepo" or (answer.status_code == httpx.codes.FORBIDDEN and why != "RepoNotFound"):
        said = f"{repository} is gated: its owner gives access on request"
        raise _Unreachable(said, f"accept the licence on {page}, then {token}")
    if why == "RevisionNotFound":
        raise _Unreachable(
            f"{repository} has no revision {revision or 'main'}", f"see {page}/commits, or leave --revision out"
        )
    if why == "RepoNotFound" or answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED):
        said = (
            f"the Hub has no model repository {repository} that it would show "
            f"{'this token' if _token() else 'without a token'}"
        )
        raise _Unreachable(said, f"check the name; for a private or gated one accept the licence on {page} and {token}")
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise _Unreachable(
            "the Hub answers too many requests from here (429)", f"try again in a few minutes, or {token}"
        )
    raise _Unreachable(*_no_network(repository, f"the Hub answered {answer.status_code}"))


def _no_network(repository: str, why: str) -> tuple[str, str]:
    folder = repository.rpartition("/")[2]
    return (
        f"the Hugging Face Hub cannot be asked: {why}",
        f"on a machine with a network: hf download {repository} --local-dir {folder}; bring the folder here and "
        f"type: ./lab model add {folder}",
    )


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or ENDPOINT


def _token() -> str | None:
    if token := (os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")):
        return token.strip()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    file = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token")
    try:
        return file.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _headers() -> dict[str, str]:
    token = _token()
    return {"user-agent": "local-ai-lab", **({"authorization": f"Bearer {token}"} if token else {})}


def _size(sibling: Mapping[str, Any]) -> int:
    lfs = sibling.get("lfs")
    size = sibling.get("size") or (lfs.get("size") if isinstance(lfs, Mapping) else 0)
    return size if isinstance(size, int) else 0


def _licence(document: Mapping[str, Any]) -> str | None:
    card, tags = document.get("cardData"), document.get("tags")
    named = card.get("license_name") or card.get("license") if isinstance(card, Mapping) else None
    if isinstance(named, str) and named:
        return named[:60]
    for tag in tags if isinstance(tags, list) else ():
        if isinstance(tag, str) and tag.startswith("license:"):
            return tag.removeprefix("license:")[:60]
    return None
