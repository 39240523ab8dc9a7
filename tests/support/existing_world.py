"""Somebody else's cluster: an API server that answers what Kubernetes v1.36 documents (kubernetes.io, API reference)
for the few requests that may be made of it, a kubeconfig with a credential plugin as `aws eks get-token` is one, and a
log.

Every other request ends with 405 and stands in the log: nothing that a driver must not do goes unseen.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from stacks import names
from tests.support.fake_api_server import JsonHandler, TlsServer, certificates

STACK = "existing-a100"
CONTEXT, OTHER_CONTEXT = "gpu-cluster", "laptop"
SPACE = names.namespace(STACK)
GPU = "nvidia.com/gpu"
_PARTS = ("state", "home")
_PLUGIN = """#!{python} -IS
import json, pathlib, sys
state = pathlib.Path({state!r})
assert sys.argv[1:] == ["eks", "get-token", "--output", "json"], sys.argv
if (state / "expired").exists():
    sys.exit("Error loading SSO Token: Token for lab does not exist")
print((state / "said").read_text() if (state / "said").exists() else json.dumps({{
    "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1", "spec": {{}},
    "status": {{"expirationTimestamp": "2020-01-01T00:00:00Z", "token": "k8s-aws-v1.token"}}}}))
"""


def node(name: str = "gpu-1", **facts: Any) -> dict[str, Any]:
    """A node with one A100 of 40 GB, labelled as GPU feature discovery labels it."""
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB", "nvidia.com/gpu.memory": "40960",
        "nvidia.com/gpu.replicas": "1", "nvidia.com/cuda.driver-version.major": "580",
    }  # fmt: skip
    labels.update(facts.get("labels", {}))
    offered = {"cpu": "11", "memory": "80Gi", GPU: "1", **facts.get("offered", {})}
    return {
        "metadata": {"name": name, "labels": {k: v for k, v in labels.items() if v is not None}},
        "spec": facts.get("spec", {"taints": [{"key": GPU, "value": "present", "effect": "NoSchedule"}]}),
        "status": {
            "allocatable": {k: v for k, v in offered.items() if v is not None},
            "conditions": [{"type": "Ready", "status": facts.get("ready", "True")}],
        },
    }


def storage_class(name: str, *, default: bool = False) -> dict[str, Any]:
    marks = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": marks}}


class World:
    """The cluster and the user's machine: `home` is the user's home, `bin` goes on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.home, self.bin = (folder / name for name in (*_PARTS, "bin"))
        for path in (self.state, self.home / ".kube", self.bin):
            path.mkdir(parents=True)
        plugin = self.bin / "aws"
        plugin.write_text(_PLUGIN.format(python=sys.executable, state=str(self.state)))
        plugin.chmod(0o755)
        certificates(folder)
        self.log: list[str] = []
        self._server = _Server(self)
        self.say(
            uid="11111111-aaaa", version="v1.33.4-eks-1", up=True, token="k8s-aws-v1.token", denied=[],
            nodes=[node(), node("cpu-1", offered={GPU: None}, labels={"nvidia.com/gpu.product": None})],
            classes=[storage_class("gp3", default=True), storage_class("efs")], runtimeclasses=["nvidia"], groups=[],
            tried="", namespaces={"kube-system": {}, "default": {}, "theirs": {"annotations": {"team": "a"}}},
        )  # fmt: skip
        self.write_kubeconfig(self.document())

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def say(self, **facts: Any) -> None:
        """What is true of the cluster from now on."""
        self._keep({**self.read(), **facts})

    def read(self) -> dict[str, Any]:
        path = self.state / "cluster.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def space(self, *, stack: str = STACK, owner: str, **facts: Any) -> None:
        """The namespace of the stack is there, as Pulumi makes it."""
        marks = {names.STACK_ANNOTATION: stack, names.OWNER_ANNOTATION: owner} if owner else {}
        self.say(namespaces={**self.read()["namespaces"], SPACE: {"annotations": marks, "uid": "5pace", **facts}})

    def document(self, **user: Any) -> dict[str, Any]:
        """A kubeconfig with two contexts, the second of which is current."""
        authority = base64.b64encode((self.folder / "tls.pem").read_bytes()).decode()
        server = f"https://127.0.0.1:{self._server.server_port}"
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1beta1", "command": "aws",
            "args": ["eks", "get-token", "--output", "json"], "env": [{"name": "AWS_PROFILE", "value": "lab"}],
            "interactiveMode": "IfAvailable",
        }  # fmt: skip
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": OTHER_CONTEXT,
            "contexts": [
                {"name": CONTEXT, "context": {"cluster": "eks", "user": "me", "namespace": "theirs"}},
                {"name": OTHER_CONTEXT, "context": {"cluster": "local", "user": "root"}},
            ],
            "clusters": [
                {"name": "eks", "cluster": {"server": server, "certificate-authority-data": authority}},
                {"name": "local", "cluster": {"server": "https://127.0.0.1:1"}},
            ],
            "users": [{"name": "me", "user": user or {"exec": plugin}}, {"name": "root", "user": {"token": "x"}}],
        }  # fmt: skip

    def write_kubeconfig(self, document: dict[str, Any]) -> None:
        (self.home / ".kube" / "config").write_text(yaml.safe_dump(document))

    def everything(self) -> dict[str, Any]:
        """The cluster, and every file of the user's home with mode and content; locks are left out."""
        files = {
            str(path.relative_to(self.home)): (oct(path.stat().st_mode & 0o777), path.read_text())
            for path in sorted(self.home.rglob("*"))
            if path.is_file() and path.suffix != ".lock"
        }
        return {"cluster": self.read(), "files": files}

    def written(self) -> set[str]:
        """The requests that were no GET."""
        return {line for line in self.log if not line.startswith("GET ")}

    def save(self, target: Path) -> None:
        for name in _PARTS:
            shutil.copytree(self.folder / name, target / name)

    def restore(self, source: Path) -> None:
        """All that there is becomes what `save` kept; the API server goes on with its port."""
        for name in _PARTS:
            shutil.rmtree(self.folder / name)
            shutil.copytree(source / name, self.folder / name)
        self.log.clear()

    def _keep(self, document: dict[str, Any]) -> None:
        temporary = self.state / ".cluster.json"
        temporary.write_text(json.dumps(document, indent=1))
        temporary.replace(self.state / "cluster.json")


class _Server(TlsServer):
    def __init__(self, world: World) -> None:
        self.world = world
        super().__init__(_Handler, world.folder)


_KINDS = {
    "/api/v1/nodes": ("nodes", "nodes"),
    "/apis/storage.k8s.io/v1/storageclasses": ("storageclasses", "classes"),
    "/apis/node.k8s.io/v1/runtimeclasses": ("runtimeclasses", "runtimeclasses"),
}
_SPACED = re.compile(r"/api/v1/namespaces/([^/?]+)(?:/(resourcequotas|limitranges|persistentvolumeclaims))?")


class _Handler(JsonHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the kernel would hold the second one back for 40 ms

    def do_GET(self) -> None:  # noqa: N802  (http.server's name)
        if (cluster := self._asked()) is None:
            return
        if self.path in ("/version", "/apis"):
            groups = [{"name": name} for name in cluster["groups"]]
            self.say(200, {"gitVersion": cluster["version"]} if self.path == "/version" else {"groups": groups})
        elif self.path in _KINDS:
            kind, key = _KINDS[self.path]
            items = [{"metadata": {"name": i}} if isinstance(i, str) else i for i in cluster[key]]
            self._may(cluster, f"list {kind}") and self.say(200, {"items": items})
        elif found := _SPACED.fullmatch(self.path):
            self._namespaced(cluster, *found.groups())
        else:
            self._status(405, f"GET {self.path} is not among what this server knows", "MethodNotAllowed")

    def do_POST(self) -> None:  # noqa: N802  (http.server's name)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if (cluster := self._asked()) is None:
            return
        if self.path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            wanted = body["spec"]["resourceAttributes"]
            sub = f"/{wanted['subresource']}" if "subresource" in wanted else ""
            allowed = f"{wanted['verb']} {wanted['resource']}{sub}" not in cluster["denied"]
            self._may(cluster, "create selfsubjectaccessreviews") and self.say(201, {"status": {"allowed": allowed}})
        elif self.path == "/api/v1/namespaces?dryRun=All":
            name = body["metadata"]["name"]
            if cluster["tried"]:
                self._status(403, cluster["tried"], "Forbidden")
            elif name in cluster["namespaces"]:
                self._status(409, f'namespaces "{name}" already exists', "AlreadyExists")
            else:
                self._may(cluster, "create namespaces") and self.say(201, body)
        else:
            self._status(405, f"POST {self.path} is not among what this server knows", "MethodNotAllowed")

    def do_DELETE(self) -> None:  # noqa: N802  (http.server's name)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if (cluster := self._asked()) is None:
            return
        name = self.path.removeprefix("/api/v1/namespaces/")
        found = cluster["namespaces"].get(name)
        if found is None or "/" in name:
            self._status(404, f'namespaces "{name}" not found', "NotFound")
        elif body["preconditions"]["uid"] != found["uid"]:
            self._status(409, "the UID in the precondition does not match", "Conflict")
        else:
            found |= {"going": True, "looks": 2}  # it is seen twice more
            self.server.world._keep(cluster)
            self.say(200, {"metadata": {"name": name, "uid": found["uid"]}})

    def _namespaced(self, cluster: dict[str, Any], name: str, kind: str | None) -> None:
        found = cluster["namespaces"].get(name)
        if kind:
            self._may(cluster, f"list {kind}") and self.say(200, {"items": (found or {}).get(kind, [])})
            return
        if name == "kube-system":
            if self._may(cluster, "get kube-system"):
                self.say(200, {"metadata": {"name": name, "uid": cluster["uid"]}})
            return
        if found and found.get("looks"):
            found["looks"] -= 1
            if not found["looks"]:
                del cluster["namespaces"][name]
            self.server.world._keep(cluster)
        if found is None:
            self._status(404, f'namespaces "{name}" not found', "NotFound")
            return
        metadata = {"name": name, "uid": found.get("uid", name), "annotations": found.get("annotations", {})}
        if found.get("going"):
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._may(cluster, "get namespaces") and self.say(200, {"metadata": metadata})

    def _asked(self) -> dict[str, Any] | None:
        """The cluster as it is, for a caller whom it knows; else it has been answered."""
        cluster = self.server.world.read()
        if not cluster["up"]:
            self.close_connection = True
            return None
        self.server.world.log.append(f"{self.command} {self.path}")
        if self.headers.get("Authorization") != f"Bearer {cluster['token']}":
            self._status(401, "Unauthorized", "Unauthorized")
            return None
        return cluster

    def _may(self, cluster: dict[str, Any], right: str) -> bool:
        if right in cluster["denied"]:
            verb, _, kind = right.partition(" ")
            self._status(403, f'{kind} is forbidden: User "me" cannot {verb} resource "{kind}"', "Forbidden")
        return right not in cluster["denied"]

    def _status(self, code: int, message: str, reason: str) -> None:
        self.say(code, {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code})
