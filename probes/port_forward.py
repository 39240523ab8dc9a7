"""HTTP to one port of a pod through the API server: what `kubectl port-forward` does, without a port of this machine.

The protocol is Kubernetes' own for WebSocket clients, v4.channel.k8s.io: the first byte of a message is its channel, 0
for data and 1 for errors, and each channel begins with the port's number in two bytes (kubernetes/kubernetes,
staging/src/k8s.io/cri-streaming/pkg/streaming/portforward/websocket.go).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpcore
import httpx
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

PROTOCOL: Final = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PREFACE = 2
_OPEN_SECONDS = 15.0
_CLOSE_SECONDS = 1.0  # what the other side says at the end is of no interest
_LOST: Final = (InvalidMessage, ConnectionResetError, ssl.SSLEOFError)


@dataclass(frozen=True)
class ApiServer:
    """How an API server is reached, for what an HTTP client cannot carry."""

    server: str
    headers: Mapping[str, str]
    tls: ssl.SSLContext
    proxy: str | None = None
    server_name: str | None = None

    def open(self, path: str) -> ClientConnection:
        """A WebSocket to that path. Raises httpcore.ConnectError with what the server says.

        A connection that ends before an answer is tried once more: an answer that was on its way can be lost so.
        """
        with suppress(*_LOST):
            return self._open(path)
        try:
            return self._open(path)
        except _LOST as error:
            raise httpcore.ConnectError(f"ports of the pod are not forwarded: {error}") from None

    def _open(self, path: str) -> ClientConnection:
        more: dict[str, Any] = {"server_hostname": self.server_name} if self.server_name else {}
        try:
            return connect(
                f"wss://{self.server.removeprefix('https://').rstrip('/')}{path}",
                subprotocols=[PROTOCOL],  # type: ignore[list-item]
                additional_headers=dict(self.headers), ssl=self.tls, proxy=self.proxy, compression=None, max_size=None,
                open_timeout=_OPEN_SECONDS, close_timeout=_CLOSE_SECONDS, ping_interval=None, **more,
            )  # fmt: skip
        except InvalidStatus as error:
            said = error.response.body.decode(errors="replace")[:300] if error.response.body else ""
            raise httpcore.ConnectError(f"ports of the pod are not forwarded: {error} {said}".rstrip()) from None
        except _LOST:
            raise
        except (OSError, WebSocketException) as error:
            raise httpcore.ConnectError(f"ports of the pod are not forwarded: {error}") from None


class PortForward(httpx.BaseTransport):
    """Sends every request, whatever its host, to a port of the pod that `pod` names when a connection is opened."""

    def __init__(self, api: ApiServer, namespace: str, pod: Callable[[], str], port: int) -> None:
        self._pool = httpcore.ConnectionPool(network_backend=_Backend(api, namespace, pod, port))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request. Raises httpx.TransportError."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme, host=request.url.raw_host, port=request.url.port, target=request.url.raw_path
        )
        assert isinstance(request.stream, Iterable)  # noqa: S101  (this client is synchronous)
        asked = httpcore.Request(
            method=request.method, url=url, headers=request.headers.raw, content=request.stream,
            extensions=request.extensions,
        )  # fmt: skip
        with _as_httpx(request):
            answer = self._pool.handle_request(asked)
        return httpx.Response(
            status_code=answer.status, headers=answer.headers, stream=_Body(answer, request),
            extensions=answer.extensions,
        )  # fmt: skip

    def close(self) -> None:
        """Closes what is open."""
        self._pool.close()


class _Backend(httpcore.NetworkBackend):
    def __init__(self, api: ApiServer, namespace: str, pod: Callable[[], str], port: int) -> None:
        self._api, self._namespace, self._pod, self._port = api, namespace, pod, port

    def connect_tcp(self, *_words: Any, **_options: Any) -> httpcore.NetworkStream:
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._pod()}/portforward?ports={self._port}"
        return _Stream(self._api.open(path))


class _Stream(httpcore.NetworkStream):
    """The bytes of one connection to the pod."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._left, self._begun = socket, b"", set[int]()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while not self._left:
            try:
                message = self._socket.recv(timeout)
            except TimeoutError:
                raise httpcore.ReadTimeout("the pod says nothing") from None
            except ConnectionClosed:
                return b""
            channel, data = self._parted(message)
            if channel == _ERROR and data:
                raise httpcore.ReadError(data.decode(errors="replace").strip())
            self._left = data if channel == _DATA else b""
        found, self._left = self._left[:max_bytes], self._left[max_bytes:]
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  (httpcore's protocol)
        try:
            self._socket.send(bytes([_DATA]) + buffer)
        except ConnectionClosed as error:
            raise httpcore.WriteError(str(error)) from None

    def close(self) -> None:
        self._socket.close()

    def _parted(self, message: str | bytes) -> tuple[int, bytes]:
        """Channel and data; a channel's first message is the port's number."""
        raw = message.encode() if isinstance(message, str) else message
        channel, data = raw[0], raw[1:]
        if channel not in self._begun:
            self._begun.add(channel)
            data = data[_PREFACE:]
        return channel, data


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx(self._request):
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    """What httpcore raises becomes what callers of httpx expect."""
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error), request=request) from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise httpx.ReadError(str(error) or type(error).__name__, request=request) from None
