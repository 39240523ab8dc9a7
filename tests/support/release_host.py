"""A web server that answers as the hosts of releases do, and as they do on a bad day."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Answer:
    """How one request is answered; each request of a path takes the next one, and a good one when all are used up."""

    status: int = 200
    cut: int | None = None  # bytes of the body, then the connection ends
    hold: int | None = None  # bytes of the body, then nothing until `release` is set
    ranges: bool = True
    location: str = ""


@dataclass
class Request:
    """What was asked, and how many bytes of the body went out."""

    path: str
    range: str | None
    encoding: str | None
    sent: int = 0


@dataclass
class ReleaseHost:
    """Files by path, the answers that are not the good one, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[ReleaseHost]:
        """Answers on 127.0.0.1 for as long as the block runs."""
        host = self

        class Handler(_Handler):
            releases = host

        server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # the parent's asks the name service for our own name
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    releases: ReleaseHost

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        asked = Request(self.path, self.headers.get("Range"), self.headers.get("Accept-Encoding"))
        self.releases.requests.append(asked)
        waiting = self.releases.answers.get(path, [])
        answer = waiting.pop(0) if waiting else Answer()
        body = self.releases.files.get(path)
        if answer.location:
            self._head(302, 0, Location=answer.location)
        elif answer.status != 200:
            self._head(answer.status, 0)
        elif body is None:
            self._head(404, 0)
        else:
            self._file(body, answer, asked)

    def _file(self, body: bytes, answer: Answer, asked: Request) -> None:
        begin = int(asked.range.removeprefix("bytes=").removesuffix("-")) if asked.range and answer.ranges else 0
        if begin and begin >= len(body):
            self._head(416, 0, **{"Content-Range": f"bytes */{len(body)}"})
            return
        if begin:
            self._head(206, len(body) - begin, **{"Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"})
        else:
            self._head(200, len(body))
        until = len(body)
        for limit in (answer.cut, answer.hold):
            until = until if limit is None else min(until, begin + limit)
        self._send(body[begin:until], asked)
        if answer.hold is not None:
            self.releases.release.wait(60)
            self._send(body[until:], asked)
        self.close_connection = answer.cut is not None

    def _send(self, data: bytes, asked: Request) -> None:
        asked.sent += len(data)  # before the write: the client may look at it as soon as it has the last byte
        try:
            self.wfile.write(data)
        except OSError:
            asked.sent -= len(data)
            self.close_connection = True

    def _head(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
