"""NVIDIA's device plugin."""

from __future__ import annotations

import pulumi

from components import types
from components.kubernetes_objects import Kubernetes
from components.manifests import device_plugin, namespace
from stacks import names
from stacks.planning.plan import NvidiaPlan


class DevicePlugin(pulumi.ComponentResource):
    """Creates: a privileged namespace (the plugin mounts the kubelet's socket folder) and the plugin's DaemonSet,
    itself unprivileged.

    Does not: patch a plugin that somebody else installed, or share a GPU.
    """

    def __init__(
        self, name: str, plan: NvidiaPlan, kubernetes: Kubernetes, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(types.DEVICE_PLUGIN, name, None, opts)
        space = kubernetes.declare(
            f"{name}-namespace",
            namespace.namespace(names.NVIDIA_NAMESPACE, pod_security="privileged", component="nvidia"),
            parent=self,
        )
        policy = kubernetes.declare(
            f"{name}-default-deny", namespace.default_deny(names.NVIDIA_NAMESPACE), parent=self, depends_on=[space]
        )
        kubernetes.declare(name, device_plugin.daemon_set(plan), parent=self, depends_on=[policy])
        self.register_outputs({})
