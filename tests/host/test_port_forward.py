"""Requests to a pod through the WebSocket of an API server that speaks v4.channel.k8s.io as the kubelet does."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.server import ServerConnection, serve

from probes.port_forward import PROTOCOL, ApiServer, PortForward
from tests.support.fake_api_server import certificates

PATH = "/api/v1/namespaces/space/pods/pod-1/portforward?ports=8000"


class _Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (self.headers["Authorization"].encode(), asked, b"x" * 70_000):
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    """Its pod listens; a pod of another name is refused as the API server refuses it."""
    certificates(tmp_path)
    engine = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Engine)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "tls.pem", tmp_path / "tls.key")

    def handle(connection: ServerConnection) -> None:
        assert connection.subprotocol == PROTOCOL
        assert connection.request and connection.request.headers["Authorization"] == "Bearer mine"
        for channel in (0, 1):  # each channel begins with the port, little-endian
            connection.send(bytes([channel]) + (8000).to_bytes(2, "little"))
        if "deaf" in connection.request.path:
            connection.send(b"\x01connection refused")
            return
        with socket.create_connection(("127.0.0.1", engine.server_port)) as pod:
            threading.Thread(target=_back, args=(pod, connection), daemon=True).start()
            for message in connection:
                assert isinstance(message, bytes) and message[0] == 0
                pod.sendall(message[1:])

    def admit(connection: ServerConnection, request: Any) -> Any:
        known = request.path == PATH or "deaf" in request.path
        return None if known else connection.respond(404, 'pods "gone" not found')

    api = serve(handle, "127.0.0.1", 0, ssl=tls, subprotocols=[PROTOCOL], process_request=admit, max_size=None)
    for each in (engine, api):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    port = api.socket.getsockname()[1]
    trust = ssl.create_default_context(cafile=str(tmp_path / "tls.pem"))
    yield ApiServer(f"https://127.0.0.1:{port}", {"Authorization": "Bearer mine"}, trust)
    api.shutdown()
    engine.shutdown()
    engine.server_close()


def _back(pod: socket.socket, connection: ServerConnection) -> None:
    while data := pod.recv(65536):
        connection.send(b"\x00" + data)


def _client(server: ApiServer, pod: str) -> httpx.Client:
    transport = PortForward(server, "space", lambda: pod, 8000)
    return httpx.Client(transport=transport, headers={"Authorization": "Bearer the engine's"}, timeout=10)


def test_requests_reach_the_pod_with_the_engines_own_key_on_one_connection(server: ApiServer) -> None:
    with _client(server, "pod-1") as client:
        for _ in range(2):
            answer = client.post("http://127.0.0.1:30080/v1/chat/completions", json={"a": 1})
            assert answer.status_code == 200
            assert answer.text == "Bearer the engine's" + '{"a":1}' + "x" * 70_000


def test_what_the_api_server_or_the_pod_refuses_is_said(server: ApiServer) -> None:
    with _client(server, "gone") as client, pytest.raises(httpx.TransportError, match='pods "gone" not found'):
        client.get("http://127.0.0.1:30080/health")
    with _client(server, "deaf") as client, pytest.raises(httpx.TransportError, match="connection refused"):
        client.get("http://127.0.0.1:30080/health")


def test_an_answer_that_was_lost_is_asked_for_once_more(server: ApiServer) -> None:
    """The first connection ends without an answer, before the API server sees it."""
    target = ("127.0.0.1", int(server.server.rpartition(":")[2]))
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as door:

        def lead() -> None:
            while True:
                try:
                    client, _ = door.accept()
                except OSError:
                    return
                seen.append(len(seen))
                if len(seen) == 1:
                    client.close()
                    continue
                behind = socket.create_connection(target)
                for pair in ((client, behind), (behind, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()

        threading.Thread(target=lead, daemon=True).start()
        lossy = replace(server, server=f"https://127.0.0.1:{door.getsockname()[1]}")
        with _client(lossy, "pod-1") as client:
            assert client.post("http://127.0.0.1:30080/v1/chat/completions", json={"a": 1}).status_code == 200
        assert seen == [0, 1]


def test_an_api_server_that_is_not_there_is_said(server: ApiServer) -> None:
    gone = replace(server, server=f"https://127.0.0.1:{_closed_port()}")
    with _client(gone, "pod-1") as client, pytest.raises(httpx.TransportError, match="not forwarded"):
        client.get("http://127.0.0.1:30080/health")


def _copy(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.close()


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
