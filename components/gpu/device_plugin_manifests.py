"""NVIDIA's device plugin, owned by us: pinned, with a configuration of its own, as restricted as its image allows."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from components.cluster import namespace_manifests as namespace
from components.pod_manifests import skips
from stacks import names
from stacks.plan import DevicePluginPlan, NvidiaPlan, Plan

NAME: Final = "nvidia-device-plugin"
_SOCKETS: Final = "/var/lib/kubelet/device-plugins"
_CONFIG: Final = "/config"
_MPS_ROOT: Final = "/run/nvidia/mps"
"""Where the control daemon keeps its pipes on the node: mps.root of NVIDIA's chart."""

# What the plugin cannot do without, with the reason that reviewers and scanners read.
_EXCEPTIONS: Final = {
    "CKV_K8S_40": "the kubelet's plugin socket folder belongs to root",
    "CKV_K8S_23": "the kubelet's plugin socket folder belongs to root",
}


def runtime_class(nvidia: NvidiaPlan) -> dict[str, Any] | None:
    """The RuntimeClass that GPU pods name, where nobody else makes it."""
    wanted = nvidia.runtime_class
    if wanted is None or wanted.made_by != "lab":
        return None
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": wanted.name, "labels": names.common_labels("nvidia")},
        "handler": wanted.name,
    }


def config_map(plugin: DevicePluginPlan) -> dict[str, Any]:
    """The plugin's configuration file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": NAME,
            "namespace": names.NVIDIA_NAMESPACE,
            "labels": names.common_labels("nvidia"),
        },
        "data": {"config.yaml": plugin.config},
    }


def daemon_set(nvidia: NvidiaPlan, plugin: DevicePluginPlan) -> dict[str, Any]:
    """One plugin on the node; it registers nvidia.com/gpu with the kubelet."""
    volumes: list[dict[str, Any]] = [
        {"name": "device-plugins", "hostPath": {"path": _SOCKETS, "type": "Directory"}},
        {"name": "config", "configMap": {"name": NAME}},
    ]
    if nvidia.sharing.kind == "mps":
        volumes += _mps_volumes()
    return _daemon_set(NAME, nvidia, plugin, _EXCEPTIONS, [_container(nvidia, plugin)], volumes)


def mps_daemon_set(nvidia: NvidiaPlan, plugin: DevicePluginPlan) -> dict[str, Any] | None:
    """The control daemon of MPS, which sets each card's mode and limits; privileged, as its image needs to be. None
    without MPS.
    """
    if nvidia.sharing.kind != "mps":
        return None
    name = f"{NAME}-mps"
    mounts = {
        **_base(plugin),
        "name": "mounts",
        "command": ["mps-control-daemon", "mount-shm"],
        "securityContext": {"privileged": True},
        "volumeMounts": [{"name": "mps-root", "mountPath": "/mps", "mountPropagation": "Bidirectional"}],
    }
    daemon = {
        **_base(plugin),
        "name": name,
        "command": ["mps-control-daemon"],
        "env": [
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CONFIG_FILE", "value": f"{_CONFIG}/config.yaml"},
        ],
        "securityContext": {"privileged": True},
        "volumeMounts": [
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
            {"name": "mps-root", "mountPath": "/mps"},
            {"name": "mps-shm", "mountPath": "/dev/shm"},  # noqa: S108  (the daemon's own, on the node)
        ],
    }
    volumes = [{"name": "config", "configMap": {"name": NAME}}, *_mps_volumes()]
    reasons = {**_EXCEPTIONS, "CKV_K8S_16": "it changes the card's compute mode and mounts on the node"}
    made = _daemon_set(name, nvidia, plugin, reasons, [daemon], volumes)
    made["spec"]["template"]["spec"] |= {"initContainers": [mounts], "hostPID": True}
    return made


def _daemon_set(
    name: str,
    nvidia: NvidiaPlan,
    plugin: DevicePluginPlan,
    exceptions: dict[str, str],
    containers: list[dict[str, Any]],
    volumes: list[dict[str, Any]],
) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": name, **names.common_labels("nvidia")}
    selector = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": names.PART_OF}
    # the plugin reads its file when it starts, so that another file has to start another pod
    mark = {"local-ai-lab/config": hashlib.sha256(plugin.config.encode()).hexdigest()[:12]}
    runtime = {"runtimeClassName": nvidia.runtime_class.name} if nvidia.runtime_class else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {
            "name": name,
            "namespace": names.NVIDIA_NAMESPACE,
            "labels": labels,
            "annotations": skips(exceptions),
        },
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": labels, "annotations": mark},
                "spec": {
                    **runtime,
                    "priorityClassName": "system-node-critical",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "tolerations": [{"key": names.GPU, "operator": "Exists", "effect": "NoSchedule"}],
                    "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": containers,
                    "volumes": volumes,
                },
            },
        },
    }


def _base(plugin: DevicePluginPlan) -> dict[str, Any]:
    return {
        "image": plugin.image,
        "imagePullPolicy": plugin.pull_policy,
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}},
    }


def _container(nvidia: NvidiaPlan, plugin: DevicePluginPlan) -> dict[str, Any]:
    registered = {"exec": {"command": ["/bin/sh", "-c", f"test -S {_SOCKETS}/nvidia-gpu.sock"]}}
    environment = [{"name": "CONFIG_FILE", "value": f"{_CONFIG}/config.yaml"}]
    mounts: list[dict[str, Any]] = [
        {"name": "device-plugins", "mountPath": _SOCKETS},
        {"name": "config", "mountPath": _CONFIG, "readOnly": True},
    ]
    capabilities: dict[str, Any] = {"drop": ["ALL"]}
    if nvidia.sharing.kind == "mps":
        environment.append({"name": "MPS_ROOT", "value": _MPS_ROOT})
        mounts += [
            {"name": "mps-root", "mountPath": "/mps"},
            {"name": "mps-shm", "mountPath": "/dev/shm"},  # noqa: S108  (the daemon's own: its health is asked there)
        ]
    if nvidia.sharing.kind == "mig":  # NVIDIA's chart gives both to a plugin that lists MIG devices
        environment.append({"name": "NVIDIA_MIG_MONITOR_DEVICES", "value": "all"})
        capabilities["add"] = ["SYS_ADMIN"]
    return {
        **_base(plugin),
        "name": NAME,
        "env": environment,
        "securityContext": {
            # Kubernetes refuses false beside SYS_ADMIN
            "allowPrivilegeEscalation": nvidia.sharing.kind == "mig",
            "privileged": False,
            "readOnlyRootFilesystem": plugin.read_only_root_filesystem,
            "capabilities": capabilities,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "readinessProbe": {**registered, "periodSeconds": 5},
        "livenessProbe": {**registered, "periodSeconds": 30, "failureThreshold": 5, "initialDelaySeconds": 30},
        "volumeMounts": mounts,
    }


def _mps_volumes() -> list[dict[str, Any]]:
    return [
        {"name": "mps-root", "hostPath": {"path": _MPS_ROOT, "type": "DirectoryOrCreate"}},
        {"name": "mps-shm", "hostPath": {"path": f"{_MPS_ROOT}/shm"}},
    ]


def wait_environment(plan: Plan) -> dict[str, str]:
    """What the Command is told that waits for the stack's GPUs; the digest makes it run again with the plan."""
    return {
        "LAB_STACK": plan.stack,
        "LAB_KUBECONFIG": plan.kubernetes.kubeconfig,
        "LAB_NAMESPACE": plan.kubernetes.namespace,
        "LAB_GPUS": str(plan.asked_gpus),
        "LAB_DIGEST": plan.digest,
    }


def objects(nvidia: NvidiaPlan, plugin: DevicePluginPlan, kubernetes: str) -> list[tuple[str, dict[str, Any]]]:
    """Everything of the stack's own device plugin, by the names of the program's resources."""
    space = names.NVIDIA_NAMESPACE
    owned = namespace.namespace(space, pod_security="privileged", component="nvidia", kubernetes=kubernetes)
    found: list[tuple[str, dict[str, Any] | None]] = [
        ("device-plugin-namespace", owned),
        ("device-plugin-default-deny", namespace.default_deny(space)),
        ("device-plugin-config", config_map(plugin)),
        ("device-plugin-runtime-class", runtime_class(nvidia)),
        ("device-plugin-mps", mps_daemon_set(nvidia, plugin)),
        ("device-plugin", daemon_set(nvidia, plugin)),
    ]
    return [(name, manifest) for name, manifest in found if manifest is not None]
