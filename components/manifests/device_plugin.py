"""NVIDIA's device plugin, owned by us: pinned, unprivileged, exclusive GPUs."""

from __future__ import annotations

from typing import Any

from stacks import names
from stacks.planning.plan import NvidiaPlan

_NAME = "nvidia-device-plugin"
_SOCKETS = "/var/lib/kubelet/device-plugins"

# What the plugin cannot do without, with the reason that reviewers and scanners read.
_EXCEPTIONS = {
    "CKV_K8S_40": "the kubelet's plugin socket folder belongs to root",
    "CKV_K8S_23": "the kubelet's plugin socket folder belongs to root",
}


def daemon_set(nvidia: NvidiaPlan) -> dict[str, Any]:
    """One plugin on the node; it registers nvidia.com/gpu with the kubelet."""
    labels = {"app.kubernetes.io/name": _NAME, **names.common_labels("nvidia")}
    selector = {"app.kubernetes.io/name": _NAME, "app.kubernetes.io/part-of": names.PART_OF}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": _NAME,
            "namespace": names.NVIDIA_NAMESPACE,
            "labels": labels,
            "annotations": {
                f"checkov.io/skip{n}": f"{check}={reason}" for n, (check, reason) in enumerate(_EXCEPTIONS.items(), 1)
            },
        },
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "priorityClassName": "system-node-critical",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [_container(nvidia)],
                    "volumes": [{"name": "device-plugins", "hostPath": {"path": _SOCKETS, "type": "Directory"}}],
                },
            },
        },
    }


def _container(nvidia: NvidiaPlan) -> dict[str, Any]:
    registered = {"exec": {"command": ["/bin/sh", "-c", f"test -S {_SOCKETS}/nvidia-gpu.sock"]}}
    return {
        "name": _NAME,
        "image": nvidia.plugin_image,
        "imagePullPolicy": nvidia.plugin_pull_policy,
        "env": [{"name": "FAIL_ON_INIT_ERROR", "value": "true"}],  # a node without a GPU must look broken, not idle
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": nvidia.read_only_root_filesystem,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}},
        "readinessProbe": {**registered, "periodSeconds": 5},
        "livenessProbe": {**registered, "periodSeconds": 30, "failureThreshold": 5, "initialDelaySeconds": 30},
        "volumeMounts": [{"name": "device-plugins", "mountPath": _SOCKETS}],
    }
