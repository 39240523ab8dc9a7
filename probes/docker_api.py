"""The Docker engine of this machine, over its socket: https://docs.docker.com/reference/api/engine/."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from stacks.errors import CheckFailed

_TIMEOUT_SECONDS = 30.0
_OLDEST, _NEWEST = (1, 41), (1, 44)  # Docker 20.10; 29 answers nothing older than 1.44
_DEFAULT = "unix:///var/run/docker.sock"


class DockerApi:
    """Requests to one engine. A probe only asks; the connection is there for those who may change something."""

    def __init__(self, client: httpx.Client, socket: str = "docker.sock") -> None:
        self.client, self.socket = client, socket

    @classmethod
    def connect(cls, *, timeout: float = _TIMEOUT_SECONDS) -> DockerApi:
        """The engine that the `docker` command would talk to; `timeout` is in seconds. Raises CheckFailed where it does
        not answer, is another machine's, or is too old.
        """
        path = socket_path(os.environ, Path.home())
        plain = ssl.SSLContext(
            ssl.PROTOCOL_TLS_CLIENT
        )  # of no use on a socket, and the default one reads all authorities
        transport = httpx.HTTPTransport(uds=str(path), verify=plain)
        client = httpx.Client(
            transport=transport, verify=plain, base_url="http://docker", timeout=timeout, trust_env=False
        )
        try:
            answer = client.get("/_ping")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise unreachable(path, error) from None
        offered = _version(answer.headers.get("Api-Version", ""))
        if offered < _OLDEST:
            raise CheckFailed(
                f"Docker speaks version {'.'.join(map(str, offered))} of its API, and 1.41 is needed",
                remedy="install Docker 20.10 or newer",
            )
        spoken = min(offered, _NEWEST)
        client.base_url = httpx.URL(f"http://docker/v{spoken[0]}.{spoken[1]}")
        return cls(client, str(path))

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, whatever the engine answers. Raises CheckFailed where it cannot be reached."""
        try:
            return self.client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise unreachable(Path(self.socket), error) from None

    def document(self, path: str, **parameters: str) -> Any:
        """The JSON of one GET; None where there is no such thing. Raises CheckFailed for every other refusal."""
        answer = self.request("GET", path, params=parameters)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.status_code != httpx.codes.OK:
            raise CheckFailed(f"Docker answers {answer.status_code} to GET {path}: {said(answer)}")
        return answer.json()

    def container(self, name: str) -> dict[str, Any] | None:
        """What `docker container inspect` shows; None where there is none."""
        found: dict[str, Any] | None = self.document(f"/containers/{quote(name, safe='')}/json")
        return found

    def log(self, name: str, *, tail: int | None = None) -> str:
        """What the container wrote, its last `tail` lines or all of it; empty where nothing can be had."""
        options = {"stdout": "true", "stderr": "true", "tail": "all" if tail is None else str(tail)}
        answer = self.request("GET", f"/containers/{quote(name, safe='')}/logs", params=options)
        return _text(answer.content) if answer.status_code == httpx.codes.OK else ""


def socket_path(environment: Mapping[str, str], home: Path) -> Path:
    """The socket that the `docker` command uses: DOCKER_HOST, else the chosen context, else the usual one. Raises
    CheckFailed where it is another machine's: folders of this one could not be mounted there.
    """
    host = environment.get("DOCKER_HOST") or _of_context(environment, home) or _DEFAULT
    if not host.startswith("unix://"):
        raise CheckFailed(
            f"Docker is at {host}, which is not a socket of this machine",
            remedy="use the Docker engine of this machine: unset DOCKER_HOST; docker context use default",
        )
    return Path(host.removeprefix("unix://"))


def unreachable(path: Path, error: Exception) -> CheckFailed:
    """Why the socket does not answer, and what to type."""
    text = str(error)
    if "Permission denied" in text:
        return CheckFailed(
            f"this user may not talk to Docker ({path}: permission denied)",
            remedy="sudo usermod -aG docker $USER, then log in again; members of that group are as good as root",
        )
    if "No such file" in text:
        return CheckFailed(
            f"Docker is not here: there is no {path}",
            remedy="install it (Debian and Ubuntu: sudo apt-get install docker.io; WSL2: Docker Desktop or docker-ce), "
            "or start it: sudo systemctl start docker",
        )
    return CheckFailed(
        f"Docker does not answer at {path}: {text or repr(error)}",
        remedy="sudo systemctl start docker; why it is down: journalctl -u docker",
    )


def said(answer: httpx.Response) -> str:
    """The engine's own words."""
    try:
        return str(answer.json()["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:300]


def _of_context(environment: Mapping[str, str], home: Path) -> str:
    """The address of the context that `docker context use` chose, as the CLI keeps it; empty for the default one."""
    folder = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    try:
        chosen = environment.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text())["currentContext"]
        if chosen == "default":
            return ""
        meta = folder / "contexts" / "meta" / hashlib.sha256(chosen.encode()).hexdigest() / "meta.json"
        return str(json.loads(meta.read_text())["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _version(text: str) -> tuple[int, int]:
    first, _, second = text.partition(".")
    return (int(first), int(second)) if first.isdecimal() and second.isdecimal() else (0, 0)


def _text(stream: bytes) -> str:
    """The lines of a log stream: frames of eight bytes (kind, three zeros, length) and text, as the API has them."""
    parts, at = [], 0
    while at + 8 <= len(stream) and stream[at] in (0, 1, 2) and stream[at + 1 : at + 4] == b"\0\0\0":
        size = int.from_bytes(stream[at + 4 : at + 8], "big")
        parts.append(stream[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(parts).decode(errors="replace")
