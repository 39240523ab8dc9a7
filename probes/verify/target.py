"""What the probes look at, and how they ask."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from stacks.errors import CheckFailed

CHAT: Final = "/v1/chat/completions"
_KEY_SECONDS: Final = 15.0
_SECONDS: Final = 120.0
_RAW_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Target:
    """A gateway that runs. `key` works; `spare_key` works too and may be used up; `revoked_key` worked before;
    `narrow_key` may ask the first model alone, where the gateway keeps keys to models. `log` reads what the gateway has
    logged; sizes are bytes. `aliases` lead to the models behind them; `session_cookie` is the name of the one that the
    gateway gives out. `tasks` are what models are for; one that is not in it is for chat, and those come first.
    `issuer` and `audience` are those of tokens, where they are taken.
    """

    host: str
    port: int
    authority: Path | None
    key: str
    spare_key: str
    revoked_key: str
    models: tuple[str, ...]
    longest_prompt: int
    request_buffer: int
    header_bytes: int
    requests_per_minute: int
    body_seconds: int
    log: Callable[[], str]
    private_files: tuple[Path, ...] = ()
    closed_ports: tuple[int, ...] = ()
    engine_host: str = "127.0.0.1"
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    session_cookie: str | None = None
    tasks: Mapping[str, str] = field(default_factory=dict)
    issuer: str = "https://idp.example/realms/lab"
    audience: str = "lab"
    narrow_key: str | None = None

    @property
    def chats(self) -> bool:
        """Whether the first model is for chat, as one of a stack that has one is."""
        return self.tasks.get(self.models[0], "chat") == "chat"

    @property
    def url(self) -> str:
        """Without a path."""
        return f"{'https' if self.authority else 'http'}://{self.host}:{self.port}"

    def trust(self) -> ssl.SSLContext:
        """Trusts the stack's own authority and nobody else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.authority)
        return context

    @contextlib.contextmanager
    def client(self, key: str | None = None, **headers: str) -> Iterator[httpx.Client]:
        """A client with a key, or without one."""
        own = {"authorization": f"Bearer {key}"} if key else {}
        verify = self.trust() if self.authority else False
        with httpx.Client(
            base_url=self.url, headers=own | headers, verify=verify, timeout=_SECONDS, trust_env=False
        ) as c:
            yield c

    def ask(self, method: str, path: str, *, key: str | None = None, **options: Any) -> httpx.Response:
        """One request."""
        with self.client(key) as client:
            return client.request(method, path, **options)

    def wait_for(self, key: str) -> None:
        """Returns once the gateway knows a key that was made just now. Raises CheckFailed where it does not."""
        said, end = "nothing", time.monotonic() + _KEY_SECONDS
        while time.monotonic() < end:
            try:
                answer = self.ask("GET", "/v1/models", key=key)
                if answer.status_code == httpx.codes.OK:
                    return
                said = str(answer.status_code)
            except httpx.HTTPError as error:
                said = str(error) or repr(error)
            time.sleep(0.1)
        raise CheckFailed(
            f"the gateway at {self.url} does not take a new key: {said}",
            remedy="where the folder of keys is not on a Linux file system, changes are seen after: docker restart",
        )

    def chat(
        self, model: str | None = None, *, key: str | None = None, text: str = "Hi", **options: Any
    ) -> httpx.Response:
        """One short chat completion."""
        return self.ask("POST", CHAT, key=key, json=chat_body(model or self.models[0], text), **options)

    @contextlib.contextmanager
    def connection(self, seconds: float = _RAW_SECONDS) -> Iterator[socket.socket]:
        """A connection to write bytes to that no client library would send."""
        plain = socket.create_connection((self.host, self.port), timeout=seconds)
        with self.trust().wrap_socket(plain, server_hostname=self.host) if self.authority else plain as wrapped:
            yield wrapped

    def raw(self, request: bytes, *, seconds: float = _RAW_SECONDS) -> int:
        """The status of the first answer to the bytes of a request; 0 where the connection ends without one."""
        with self.connection(seconds) as connection:
            connection.sendall(request)
            return first_status(connection)

    def head(self, method: str, path: str, *, key: str | None = None, host: str | None = None, **more: str) -> bytes:
        """The head of a request as bytes; `_` in names of headers stands for -."""
        headers = {"host": host or f"{self.host}:{self.port}", **({"authorization": f"Bearer {key}"} if key else {})}
        headers |= {"-".join(name.split("_")): value for name, value in more.items()}
        return head(f"{method} {path} HTTP/1.1", headers)


def head(line: str, headers: Mapping[str, str]) -> bytes:
    """A request line and headers as they travel."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def first_status(connection: socket.socket) -> int:
    """The status of the answer that comes next; 0 where the connection ends or nothing comes in time."""
    found = b""
    with contextlib.suppress(OSError):
        while b"\r\n" not in found and (some := connection.recv(4096)):
            found += some
    words = found.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1][:3].isdigit() else 0


def chat_body(model: str, text: str) -> dict[str, Any]:
    """The body of a short chat completion."""
    return {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": text}]}


def chat_bytes(model: str, text: str = "Hi") -> bytes:
    """The same as it travels."""
    return json.dumps(chat_body(model, text)).encode()
