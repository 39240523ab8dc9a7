"""A small, strict Kubernetes API server in this process: server-side apply with simple field ownership, and every request on record.

No watches, no authentication; controllers are a function that fills in `status`. Lists are atomic.
"""

from __future__ import annotations

import contextlib
import copy
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MARK = {"local-ai-lab/embedded": "true"}
KINDS = {
    "v1": {"Namespace": ("namespaces", False), "PersistentVolume": ("persistentvolumes", False), "ConfigMap": ("configmaps", True),
           "PersistentVolumeClaim": ("persistentvolumeclaims", True), "Secret": ("secrets", True), "Service": ("services", True),
           "ServiceAccount": ("serviceaccounts", True), "Pod": ("pods", True)},
    "apps/v1": {"DaemonSet": ("daemonsets", True), "Deployment": ("deployments", True)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "storage.k8s.io/v1": {"StorageClass": ("storageclasses", False)},
    "discovery.k8s.io/v1": {"EndpointSlice": ("endpointslices", True)},
}  # fmt: skip
IMMUTABLE = {"Deployment": ("spec", "selector"), "DaemonSet": ("spec", "selector"), "PersistentVolumeClaim": ("spec", "volumeName")}
Leaves = dict[tuple[str, ...], Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any

    @property
    def writes(self) -> bool:
        return self.method != "GET"


class RefusedRequestError(Exception):
    def __init__(self, status: int, message: str, causes: list[str] | None = None) -> None:
        super().__init__(message)
        self.status, self.causes = status, causes or []


def leaves(value: Any, path: tuple[str, ...] = ()) -> Leaves:
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in leaves(item, (*path, key)).items()}
    return {path: value}


def _set(item: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        if not isinstance(item.get(key), dict):
            item[key] = {}
        item = item[key]
    item[path[-1]] = copy.deepcopy(value)


def _drop(item: dict[str, Any], path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        item = item.get(key) or {}
    item.pop(path[-1], None)


def ready(item: dict[str, Any]) -> None:
    """The controllers of a healthy cluster."""
    kind, spec = item["kind"], item.get("spec") or {}
    generation = item["metadata"]["generation"]
    if kind == "Namespace":
        item["status"] = {"phase": "Active"}
    elif kind == "Deployment":
        n = spec.get("replicas", 1)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), n)
        item["status"] = {"observedGeneration": generation, **counts, "conditions": [{"type": "Available", "status": "True"}]}
    elif kind == "DaemonSet":
        names = ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
        item["status"] = {"observedGeneration": generation, **dict.fromkeys(names, 1)}
    elif kind == "PersistentVolumeClaim":
        item["status"] = {"phase": "Bound" if spec.get("volumeName") else "Pending"}


@dataclass
class FakeServer:
    """Objects by path. `controller` fills in the status at each write; `before` may refuse a request or end the process."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    owned: dict[str, dict[str, Leaves]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    controller: Callable[[dict[str, Any]], None] = ready
    before: Callable[[Request], None] = lambda _: None
    endpoints_ready: bool = True
    lingering: int = 0  # how many looks a deleted object survives
    url: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    version: int = 100

    def writes(self) -> list[tuple[str, str]]:
        return [(request.method, request.path) for request in self.requests if request.writes]

    def mark(self) -> None:
        self.put("/api/v1/namespaces/kube-system", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"labels": dict(MARK)}})
        self.put("/api/v1/namespaces/default", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})

    def put(self, path: str, item: dict[str, Any]) -> None:
        """Puts an object there as somebody else."""
        made = self._new(path, copy.deepcopy(item))
        self.controller(made)
        self.objects[path] = made

    def answer(self, request: Request) -> tuple[int, Any]:
        with self.lock:
            self.requests.append(request)
            try:
                self.before(request)
                return 200, self._answer(request)
            except RefusedRequestError as error:
                causes = {"details": {"causes": [{"message": cause} for cause in error.causes]}}
                return error.status, {"kind": "Status", "message": str(error), "code": error.status, **causes}

    def _answer(self, request: Request) -> Any:
        parts = request.path.strip("/").split("/")
        group = parts[1] if parts[0] == "api" else "/".join(parts[1:3])
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        if not rest:
            return self._kinds(group)
        found = {plural: kind for kind, (plural, _) in KINDS.get(group, {}).items()}
        is_list = len(rest) in (1, 3)
        if (rest[-1] if is_list else rest[-2]) not in found:
            raise RefusedRequestError(404, "the server could not find the requested resource")
        if is_list:
            return self._list(request)
        if request.method == "GET":
            return self._live(request.path)
        if request.method == "DELETE":
            return self._delete(request)
        if "json-patch" in request.body["type"]:
            return self._json_patch(request)
        if "apply-patch" not in request.body["type"]:
            raise RefusedRequestError(415, "only server-side apply")
        return self._apply(request, found[rest[-2]], group)

    def _kinds(self, group: str) -> Any:
        if group not in KINDS:
            raise RefusedRequestError(404, "no such group")
        return {"resources": [{"name": plural, "kind": kind, "namespaced": inside} for kind, (plural, inside) in KINDS[group].items()]}

    def _list(self, request: Request) -> Any:
        wanted = dict(pair.split("=", 1) for pair in request.query.get("labelSelector", "").split(",") if pair)
        if request.path.endswith("/endpointslices") and "kubernetes.io/service-name" in wanted:
            return {"items": [{"endpoints": [{"conditions": {"ready": self.endpoints_ready}}]}]}
        inside = [item for path, item in self.objects.items() if path.rpartition("/")[0] == request.path]
        return {"items": [item for item in inside if wanted.items() <= (item["metadata"].get("labels") or {}).items()]}

    def _live(self, path: str) -> dict[str, Any]:
        item = self.objects.get(path)
        if item is None:
            raise RefusedRequestError(404, f"{path} not found")
        if "deletionTimestamp" in item["metadata"]:
            item["looks"] -= 1
            if item["looks"] < 0:
                self._remove(path)
                raise RefusedRequestError(404, f"{path} not found")
        return {k: v for k, v in item.items() if k != "looks"}

    def _remove(self, path: str) -> None:
        inside = f"{path}/".removeprefix("/api/v1")  # a namespace takes everything in it along
        for other in [p for p in self.objects if p == path or (inside.startswith("/namespaces/") and inside in p)]:
            del self.objects[other]
            self.owned.pop(other, None)

    def _delete(self, request: Request) -> Any:
        item = self._live(request.path)
        wanted = (request.body["content"].get("preconditions") or {}).get("uid")
        if wanted and wanted != item["metadata"]["uid"]:
            raise RefusedRequestError(409, "the UID in the precondition does not match")
        if self.lingering:
            self.objects[request.path]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self.objects[request.path]["looks"] = self.lingering
        else:
            self._remove(request.path)
        return {"status": "Success"}

    def _json_patch(self, request: Request) -> Any:
        item = self.objects[request.path]
        for step in request.body["content"]:
            if step["path"] == "/metadata/resourceVersion" and step["value"] != item["metadata"]["resourceVersion"]:
                raise RefusedRequestError(409, "the object has been modified")
        fields = request.body["content"][0]["value"]
        item["metadata"]["managedFields"] = fields
        renamed = [entry["manager"] for entry in fields if entry["operation"] == "Apply"]
        for old in [name for name in self.owned.get(request.path, {}) if name not in renamed]:
            self.owned[request.path][renamed[0]] = self.owned[request.path].pop(old)
        return item

    def _new(self, path: str, item: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        metadata = {"name": path.rpartition("/")[2], **item.get("metadata", {}), "uid": str(uuid.uuid4()), "generation": 1}
        parts = path.split("/namespaces/")
        if len(parts) == 2 and "/" in parts[1]:
            metadata["namespace"] = parts[1].split("/")[0]
        metadata |= {"resourceVersion": str(self.version), "creationTimestamp": "2026-01-01T00:00:00Z"}
        return {**item, "metadata": metadata}

    def _apply(self, request: Request, kind: str, group: str) -> Any:
        body, manager = request.body["content"], request.query["fieldManager"]
        name = request.path.rpartition("/")[2]
        if (body.get("kind"), body.get("apiVersion"), body["metadata"].get("name")) != (kind, group, name):
            raise RefusedRequestError(400, "the object does not match its path")
        parts = request.path.split("/namespaces/")
        if len(parts) == 2 and "/" in parts[1] and f"/api/v1/namespaces/{parts[1].split('/')[0]}" not in self.objects:
            raise RefusedRequestError(404, f"namespaces {parts[1].split('/')[0]} not found")
        old = self.objects.get(request.path)
        item = copy.deepcopy(old) if old else self._new(request.path, {"apiVersion": group, "kind": kind})
        owned = copy.deepcopy(self.owned.get(request.path, {}))
        applied = {path: value for path, value in leaves(body).items() if path not in (("apiVersion",), ("kind",), ("metadata", "name"))}
        foreign = {path: other for other, paths in owned.items() if other != manager for path in paths}
        clashes = [path for path, value in applied.items() if path in foreign and owned[foreign[path]][path] != value]
        if clashes and request.query.get("force") != "true":
            raise RefusedRequestError(
                409, "Apply failed with conflicts", [f'conflict with "{foreign[path]}": .{".".join(path)}' for path in clashes]
            )
        for path in owned.get(manager, {}).keys() - applied.keys() - foreign.keys():
            _drop(item, path)
        for path, value in applied.items():
            _set(item, path, value)
        for path in clashes:
            del owned[foreign[path]][path]
        owned[manager] = applied
        where = IMMUTABLE.get(kind)
        if old and where and (old.get(where[0]) or {}).get(where[1]) != (item.get(where[0]) or {}).get(where[1]):
            raise RefusedRequestError(422, f"{kind} {name} is invalid: {'.'.join(where)}: field is immutable")
        if request.query.get("dryRun") == "All":
            return item
        if old and item.get("spec") != old.get("spec"):
            item["metadata"]["generation"] += 1
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        item["metadata"]["managedFields"] = [{"manager": name, "operation": "Apply", "fieldsV1": {}} for name in sorted(owned)]
        self.controller(item)
        self.objects[request.path], self.owned[request.path] = item, owned
        return item


@contextlib.contextmanager
def serving(server: FakeServer | None = None) -> Iterator[FakeServer]:
    """Serves it on a free port of this machine."""
    fake = server or FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            url = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(size)
            body = {"type": self.headers.get("Content-Type", ""), "content": json.loads(text) if text else {}}
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            status, document = fake.answer(Request(self.command, url.path, query, body))
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = do_POST = do_PUT = _do  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    fake.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        http.shutdown()
        http.server_close()


def write_kubeconfig(path: Path, url: str) -> Path:
    """A kubeconfig for it."""
    named = {"clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}]}
    path.write_text(json.dumps({**named, "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}))
    return path
