"""The few calls that bringing up a cluster needs, on the standard library: reads, and one server-side apply."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

from host.embedded.layout import Layout
from stacks.errors import HostError


class ApiError(HostError):
    """The API server cannot be reached or answered with an error; `status` is 0 where it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def request(
    layout: Layout, method: str, path: str, body: Any = None, *, seconds: float = 5.0, pair: str = "bootstrap"
) -> Any:
    """One request with the certificate `pair`; returns the parsed JSON, or the text where it is none. Raises ApiError."""
    try:
        connection = http.client.HTTPSConnection(
            layout.plan.address, 6443, timeout=seconds, context=_context(layout.pki, pair)
        )
        try:
            headers = {"Content-Type": "application/apply-patch+yaml" if method == "PATCH" else "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise ApiError(f"the API server at {layout.server} does not answer: {error}") from None
    if answer.status >= 300:
        raise ApiError(f"{method} {path}: {answer.status} {text[:300]}", answer.status)
    return json.loads(text) if text.startswith("{") else text


def apply(layout: Layout, path: str, document: dict[str, Any]) -> None:
    """Server-side apply of one object under our field manager; `path` is the collection's."""
    name = quote(document["metadata"]["name"], safe="")
    request(layout, "PATCH", f"{path}/{name}?fieldManager=local-ai-lab&force=true", document)


def cluster_uid(layout: Layout) -> str:
    """The UID of kube-system: the identity of the cluster's data. Raises ApiError."""
    return str(request(layout, "GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"])


def _context(pki: Path, pair: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / f"{pair}.crt", pki / f"{pair}.key")
    except (OSError, ssl.SSLError) as error:
        raise ApiError(f"the certificates in {pki} cannot be read: {error}") from None
    return context
