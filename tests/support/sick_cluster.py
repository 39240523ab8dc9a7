"""An API server for `lab doctor`: sound unless a test says otherwise; a path that it does not know is a 404."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from probes.kubernetes_api import KubernetesApi

CONDITIONS = {"Ready": "True", "DiskPressure": "False", "MemoryPressure": "False", "PIDPressure": "False"}


def a_node(name: str = "local-ai-lab", messages: Mapping[str, str] | None = None, **conditions: str) -> dict[str, Any]:
    """A node with conditions as a kubelet of 1.35 writes them."""
    found = {**CONDITIONS, **conditions}
    listed = [{"type": t, "status": s, "message": (messages or {}).get(t, "")} for t, s in found.items()]
    status = {"conditions": listed, "allocatable": {"nvidia.com/gpu": "1"}}
    return {"metadata": {"name": name}, "spec": {}, "status": status}


def a_release(name: str, status: str, created: str) -> dict[str, Any]:
    """The Secret in which Helm 3 and 4 keep a release."""
    labels = {"owner": "helm", "name": name, "status": status, "version": "1"}
    metadata = {"name": f"sh.helm.release.v1.{name}.v1", "namespace": "gpu-operator", "labels": labels}
    return {"metadata": {**metadata, "creationTimestamp": created}, "type": "helm.sh/release.v1"}


def a_deployment(namespace: str, name: str, image: str) -> dict[str, Any]:
    """A Deployment or DaemonSet with one container."""
    spec = {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


_PLUGIN = {
    "metadata": {"namespace": "nvidia-device-plugin", "name": "nvidia-device-plugin"},
    "spec": {
        "selector": {"matchLabels": {"app": "nvidia-device-plugin"}},
        "template": {"spec": {"containers": [{"name": "plugin", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.20.0"}]}},
    },
    "status": {"desiredNumberScheduled": 1, "numberReady": 1},
}


def sick_cluster(lists: Mapping[str, list[dict[str, Any]]] | None = None, *, answers: bool = True) -> KubernetesApi:
    """The API; `lists` are items by path, in the place of the sound ones."""
    plugin_pod = {"metadata": {"name": "plugin-1"}, "spec": _PLUGIN["spec"]["template"]["spec"]}
    known: dict[str, list[dict[str, Any]]] = {
        "/api/v1/nodes": [a_node()],
        "/api/v1/secrets": [],
        "/apis/apps/v1/deployments": [],
        "/apis/apps/v1/daemonsets": [_PLUGIN],
        "/api/v1/namespaces/nvidia-device-plugin/pods": [plugin_pod],
        "/api/v1/namespaces/local-ai-lab-box/pods": [],
        "/api/v1/namespaces/local-ai-lab-box/events": [],
        **(lists or {}),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if not answers:
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        if path == "/version":
            return httpx.Response(200, json={"gitVersion": "v1.35.1"})
        if path == "/api/v1/secrets":
            assert request.url.params["fieldSelector"] == "type=helm.sh/release.v1"
            assert "pending-install" in request.url.params["labelSelector"]
        if path.startswith("/api/v1/nodes/"):
            return httpx.Response(200, json=known["/api/v1/nodes"][0])
        if path.endswith("/pods/plugin-1/log"):
            return httpx.Response(200, text="I1126 Registered device plugin for 'nvidia.com/gpu' with Kubelet\n")
        if path in known:
            return httpx.Response(200, json={"items": known[path]})
        return httpx.Response(404, json={"message": "not found"})

    return KubernetesApi(httpx.Client(transport=httpx.MockTransport(answer), base_url="https://cluster.test"))
