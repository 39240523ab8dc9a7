"""A read-only view of the Kubernetes API, by kubeconfig."""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from probes import exec_credential
from stacks.errors import CheckFailed

if TYPE_CHECKING:
    from probes.port_forward import ApiServer, PortForward

_TIMEOUT_SECONDS = 10.0


class KubernetesApi:
    """GET requests to one API server. Proxies and CA bundles of the environment are left aside: the kubeconfig says it
    all.
    """

    def __init__(self, client: httpx.Client, server: Callable[[], ApiServer] | None = None) -> None:
        self._client, self._server = client, server

    @classmethod
    def from_kubeconfig(cls, path: str, *, stack: str = "STACK", timeout: float = _TIMEOUT_SECONDS) -> KubernetesApi:
        """The API that the kubeconfig's current context names; `timeout` is in seconds. Raises CheckFailed where the
        file cannot be used.
        """
        file = Path(path).expanduser()
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            return cls.from_document(document, timeout=timeout)
        except FileNotFoundError:
            raise CheckFailed(
                f"there is no kubeconfig at {file}", remedy=f"the cluster was never made here; type: ./lab up {stack}"
            ) from None
        except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration, ssl.SSLError) as error:
            raise CheckFailed(
                f"the kubeconfig {file} cannot be used: {error}", remedy=f"./lab up {stack} writes it again"
            ) from None

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, timeout: float = _TIMEOUT_SECONDS) -> KubernetesApi:
        """The API that a parsed kubeconfig's current context names. Raises CheckFailed where its credential plugin
        gives nothing, and what a malformed document makes Python say.
        """
        context = _named(document, "contexts", document["current-context"])["context"]
        cluster = _named(document, "clusters", context["cluster"])["cluster"]
        user = _named(document, "users", context["user"])["user"]
        if "exec" in user:
            user = exec_credential.credential(user["exec"], cluster)
        tls, headers, proxy = _tls(cluster, user), _headers(user), cluster.get("proxy-url")
        server, name = str(cluster["server"]), cluster.get("tls-server-name")
        client = httpx.Client(
            base_url=server, verify=tls, headers=headers, timeout=timeout, trust_env=False, proxy=proxy
        )
        if name:
            client.event_hooks["request"] = [_as_server(name)]

        def reached() -> ApiServer:
            from probes.port_forward import ApiServer  # noqa: PLC0415  (20 ms that most callers do not need)

            return ApiServer(server, headers, tls, proxy, name)

        return cls(client, reached)

    @classmethod
    def from_files(cls, server: str, *, authority: Path, certificate: Path, key: Path, timeout: float) -> KubernetesApi:
        """The API at `server` with a client certificate; `timeout` is in seconds. Raises OSError where a file cannot be
        read, ssl.SSLError among them.
        """
        tls = ssl.create_default_context(cafile=str(authority))
        tls.load_cert_chain(certificate, key)
        return cls(httpx.Client(base_url=server, verify=tls, timeout=timeout, trust_env=False))

    @property
    def client(self) -> httpx.Client:
        """The connection, for those who may write."""
        return self._client

    def forward(self, namespace: str, pod: Callable[[], str], port: int) -> PortForward:
        """A transport to a port of a pod. Only where a kubeconfig said how the server is reached."""
        from probes.port_forward import PortForward  # noqa: PLC0415  (as above)

        assert self._server is not None  # noqa: S101  (from_kubeconfig knows it)
        return PortForward(self._server(), namespace, pod, port)

    def get(self, path: str, **parameters: str) -> httpx.Response:
        """One GET; raises httpx.HTTPError where the server cannot be reached."""
        return self._client.get(path, params=parameters)

    def items(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        """The items of a list; raises httpx.HTTPError, also for an answer that is no success."""
        response = self.get(path, **parameters)
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()["items"]
        return found


def _named(document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    return next(entry for entry in document[kind] if entry["name"] == name)


def _headers(user: Mapping[str, Any]) -> dict[str, str]:
    token = user.get("token") or (
        Path(user["tokenFile"]).read_text(encoding="utf-8").strip() if "tokenFile" in user else ""
    )
    return {"Authorization": f"Bearer {token}"} if token else {}


def _as_server(name: str) -> Callable[[httpx.Request], None]:
    """Asks for, and checks, the certificate of another name than the address has."""

    def set_name(request: httpx.Request) -> None:
        request.extensions["sni_hostname"] = name

    return set_name


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=_text(cluster, "certificate-authority") or None)
    certificate, key = _text(user, "client-certificate"), _text(user, "client-key")
    if certificate and key:
        # OpenSSL's Python binding takes client certificates from files only.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate + "\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _text(entry: Mapping[str, Any], key: str) -> str:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(data).decode()
    return Path(entry[key]).read_text(encoding="utf-8") if key in entry else ""
