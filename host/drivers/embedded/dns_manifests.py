"""CoreDNS in the embedded cluster: names of Services, and nothing of the world outside, which pods do not reach."""

from __future__ import annotations

from typing import Any, Final

SPACE: Final = "kube-system"
NAME: Final = "coredns"
_LABELS: Final = {"k8s-app": "kube-dns"}
_USER: Final = 65532
_DOMAIN: Final = "cluster.local"
_COREFILE: Final = f""".:53 {{
    errors
    health {{
        lameduck 2s
    }}
    ready
    cache 5
    kubernetes {_DOMAIN} in-addr.arpa ip6.arpa {{
        pods disabled
        ttl 5
    }}
}}
"""


def objects(image: str, address: str) -> list[tuple[str, dict[str, Any]]]:
    """Each with the path of its collection, in the order in which they are made; `address` is the Service's."""
    space = f"/api/v1/namespaces/{SPACE}"
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    return [
        (f"{space}/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()}),
        (f"{rbac}/clusterroles", _role()),
        (f"{rbac}/clusterrolebindings", _binding()),
        (
            f"{space}/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(), "data": {"Corefile": _COREFILE}},
        ),
        (f"/apis/apps/v1/namespaces/{SPACE}/deployments", _deployment(image)),
        (f"{space}/services", _service(address)),
    ]


def _role() -> dict[str, Any]:
    read = ["list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"local-ai-lab:{NAME}"},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "namespaces"], "verbs": read},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        ],
    }


def _binding() -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"local-ai-lab:{NAME}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"local-ai-lab:{NAME}"},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": SPACE}],
    }


def _deployment(image: str) -> dict[str, Any]:
    closed = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2, "timeoutSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 15, "timeoutSeconds": 5},
        "securityContext": closed,  # any user may listen on port 53: containerd is told so
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    safe = {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {
        "serviceAccountName": NAME,
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "securityContext": safe,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
        },
    }


def _service(address: str) -> dict[str, Any]:
    ports = [
        {"name": name, "port": 53, "protocol": protocol} for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**_metadata(), "name": "kube-dns"},
        "spec": {"clusterIP": address, "selector": _LABELS, "ports": ports},
    }


def _metadata() -> dict[str, Any]:
    return {"name": NAME, "namespace": SPACE, "labels": _LABELS}
