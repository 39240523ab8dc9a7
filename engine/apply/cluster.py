"""A small client of one Kubernetes API server: paths of objects, server-side apply, retries."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

from engine.apply.interrupt import Interrupt
from engine.apply.kubeconfig import Access
from engine.errors import EngineError, RefusedError

MARK: Final = "local-ai-lab/embedded"  # on the namespace kube-system, or on a ConfigMap in it; the cluster's bootstrap writes it
_TIMEOUT: Final = 30.0
_CONNECT: Final = 5.0
_PATIENCE: Final = 60.0  # seconds that a server may be away: it may just be starting
_PAUSE: Final = 0.5
_RETRIED: Final = (429, 502, 503, 504)
_NOT_FOUND, _CONFLICT, _BAD = 404, 409, 400
_KIND_PATIENCE: Final = 30.0  # seconds for a definition made a moment ago to be served


class ApiError(EngineError):
    """The API server said no; `status` is the HTTP code, `causes` the server's own list."""

    def __init__(self, status: int, message: str, causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status, self.causes = status, causes


class AwayError(EngineError):
    """The API server does not answer."""


class Cluster:
    """One API server, used by several threads. Writes are refused until `require_mark` has found the lab's mark."""

    def __init__(self, access: Access, interrupt: Interrupt, patience: float = _PATIENCE) -> None:
        self.access, self._interrupt, self._patience = access, interrupt, patience
        self._http = httpx.Client(
            base_url=access.server, headers=dict(access.headers), verify=access.verify, trust_env=False,
            timeout=httpx.Timeout(_TIMEOUT, connect=min(_CONNECT, patience)),
        )  # fmt: skip
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._lock = threading.Lock()
        self._marked = False

    def close(self) -> None:
        """Closes its connections."""
        self._http.close()

    def require_mark(self) -> None:
        """Raises RefusedError for every cluster that is not one of ours."""
        with self._lock:
            if not self._marked:
                self._marked = self._has_mark()
        if not self._marked:
            raise RefusedError(f"the embedded engine does not work on the cluster at {self.access.server}: it carries no mark of the lab")

    def _has_mark(self) -> bool:
        system = self.get("/api/v1/namespaces/kube-system") or {}
        if (system.get("metadata", {}).get("labels") or {}).get(MARK) == "true":
            return True
        maps = self.get("/api/v1/namespaces/kube-system/configmaps", {"labelSelector": f"{MARK}=true"}) or {}
        return bool(maps.get("items"))

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """An object or a list; None where there is none."""
        return self._call("GET", path, query)

    def apply(self, path: str, manifest: Mapping[str, Any], manager: str, *, force: bool = False) -> dict[str, Any]:
        """Server-side apply; the body is JSON, for in YAML 1.1 a label `y` would be read as true."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return self._call("PATCH", path, query, manifest, "application/apply-patch+yaml") or {}

    def patch(self, path: str, operations: list[dict[str, Any]], manager: str) -> dict[str, Any]:
        """A JSON patch."""
        return self._call("PATCH", path, {"fieldManager": manager}, operations, "application/json-patch+json") or {}

    def delete(self, path: str, options: Mapping[str, Any]) -> None:
        """Asks for a deletion; that nothing is there is as good."""
        self._call("DELETE", path, None, options)

    def path(self, version: str, kind: str, namespace: str, name: str) -> str:
        """The path of an object; waits a little for a kind that the server does not know yet."""
        end = time.monotonic() + _KIND_PATIENCE
        while (version, kind) not in self._kinds:
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            found = self.get(base) or {}
            whole = [item for item in found.get("resources", []) if "/" not in item["name"]]  # the others are subresources
            known = {(version, item["kind"]): (item["name"], item["namespaced"]) for item in whole}
            with self._lock:
                self._kinds |= known
            if (version, kind) not in known:
                if time.monotonic() > end:
                    raise EngineError(f"the cluster does not know the kind {version} {kind}")
                self._interrupt.sleep(_PAUSE)
        plural, namespaced = self._kinds[version, kind]
        inside = f"/namespaces/{quote(namespace or self.access.namespace)}" if namespaced else ""
        return f"{'/api/' if '/' not in version else '/apis/'}{version}{inside}/{plural}/{quote(name)}"

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None, content_type: str = "application/json"
    ) -> dict[str, Any] | None:  # fmt: skip
        """One request, again where the server is away or busy: every one that we send may be sent twice."""
        if method != "GET":
            self.require_mark()
        content = None if body is None else json.dumps(body).encode()
        end = time.monotonic() + self._patience
        while True:
            self._interrupt.check()
            answer, trouble = None, ""
            try:
                answer = self._http.request(method, path, params=dict(query or {}), content=content, headers={"Content-Type": content_type})
                trouble = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                trouble = str(error) or type(error).__name__
            if answer is not None and answer.status_code not in _RETRIED:
                return _read(answer, method, path)
            if time.monotonic() > end:
                raise AwayError(f"the API server at {self.access.server} does not answer: {trouble}", remedy="look at the cluster's logs")
            self._interrupt.sleep(_PAUSE)


def _read(answer: httpx.Response, method: str, path: str) -> dict[str, Any] | None:
    if answer.status_code == _NOT_FOUND and method in ("GET", "DELETE"):
        return None
    try:
        document: dict[str, Any] = answer.json()
    except ValueError:
        document = {}
    if answer.status_code < _BAD:
        return document
    causes = tuple(str(cause.get("message", "")) for cause in (document.get("details") or {}).get("causes") or [])
    message = document.get("message") or answer.text[:500]
    raise ApiError(answer.status_code, f"{method} {path}: {answer.status_code} {message}", causes)


def is_conflict(error: ApiError) -> bool:
    """Whether another field manager owns what was to be changed."""
    return error.status == _CONFLICT
