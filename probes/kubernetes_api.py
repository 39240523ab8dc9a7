"""A read-only view of the Kubernetes API, by kubeconfig."""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from stacks.errors import CheckFailed

_TIMEOUT_SECONDS = 10.0


class KubernetesApi:
    """GET requests to one API server. Proxies and CA bundles of the environment are left aside: the kubeconfig says it all."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    @classmethod
    def from_kubeconfig(cls, path: str, *, stack: str = "STACK", timeout: float = _TIMEOUT_SECONDS) -> KubernetesApi:
        """The API that the kubeconfig's current context names; `timeout` is in seconds. Raises CheckFailed where the file cannot be used."""
        file = Path(path).expanduser()
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
            context = _named(document, "contexts", document["current-context"])["context"]
            cluster = _named(document, "clusters", context["cluster"])["cluster"]
            user = _named(document, "users", context["user"])["user"]
            tls = _tls(cluster, user)
        except FileNotFoundError:
            raise CheckFailed(
                f"there is no kubeconfig at {file}", remedy=f"the cluster was never made here; type: ./lab up {stack}"
            ) from None
        except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration, ssl.SSLError) as error:
            raise CheckFailed(
                f"the kubeconfig {file} cannot be used: {error}", remedy=f"./lab up {stack} writes it anew"
            ) from None
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        return cls(
            httpx.Client(base_url=cluster["server"], verify=tls, headers=headers, timeout=timeout, trust_env=False)
        )

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
