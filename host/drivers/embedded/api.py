"""The few calls that bringing up a cluster needs, with the cluster's own certificates: reads, and one server-side
apply.
"""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from host.drivers.embedded.layout import Layout
from stacks.errors import HostError

if TYPE_CHECKING:
    from probes.kubernetes_api import KubernetesApi


_NOT_FOUND = 404


class ApiError(HostError):
    """The API server cannot be reached or answered with an error; `status` is 0 where it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def request(
    layout: Layout, method: str, path: str, body: Any = None, *, seconds: float = 5.0, pair: str = "bootstrap"
) -> Any:
    """One request with the certificate `pair`; returns the parsed JSON, or the text where it is none. Raises
    ApiError.
    """
    import httpx  # noqa: PLC0415  (a tenth of a second that a look at what is there need not spend)

    headers = {"Content-Type": "application/apply-patch+yaml" if method == "PATCH" else "application/json"}
    content = None if body is None else json.dumps(body)
    try:
        with _api(layout, pair, seconds).client as client:
            answer = client.request(method, path, content=content, headers=headers)
    except httpx.HTTPError as error:
        raise ApiError(f"the API server at {layout.server} does not answer: {error}") from None
    if answer.status_code >= httpx.codes.MULTIPLE_CHOICES:
        raise ApiError(f"{method} {path}: {answer.status_code} {answer.text[:300]}", answer.status_code)
    return json.loads(answer.text) if answer.text.startswith("{") else answer.text


def find(layout: Layout, path: str) -> dict[str, Any]:
    """What is there, or an empty object. Raises ApiError."""
    try:
        found: dict[str, Any] = request(layout, "GET", path)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return {}
    return found


def apply(layout: Layout, path: str, document: dict[str, Any]) -> None:
    """Server-side apply of one object under our field manager; `path` is the collection's."""
    name = quote(document["metadata"]["name"], safe="")
    request(layout, "PATCH", f"{path}/{name}?fieldManager=local-ai-lab&force=true", document)


def cluster_uid(layout: Layout) -> str:
    """The UID of kube-system: the identity of the cluster's data. Raises ApiError."""
    return str(request(layout, "GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"])


def _api(layout: Layout, pair: str, seconds: float) -> KubernetesApi:
    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415  (it imports httpx)

    pki = layout.pki
    certificate, key = pki / f"{pair}.crt", pki / f"{pair}.key"
    try:
        return KubernetesApi.from_files(
            layout.server, authority=pki / "ca.crt", certificate=certificate, key=key, timeout=seconds
        )
    except (OSError, ssl.SSLError) as error:
        raise ApiError(f"the certificates in {pki} cannot be read: {error}") from None
