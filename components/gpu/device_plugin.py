"""NVIDIA's device plugin."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.cluster import namespace_manifests as namespace
from components.cluster.kubernetes_objects import KubernetesComponent
from components.gpu import device_plugin_manifests as manifests
from stacks import names
from stacks.plan import DevicePluginPlan, NvidiaPlan


@dataclass(frozen=True)
class DevicePluginArgs:
    """`kubernetes` is the cluster's version, to which the Pod Security level is pinned."""

    nvidia: NvidiaPlan
    plugin: DevicePluginPlan
    kubernetes: str


class DevicePlugin(KubernetesComponent):
    """Creates: a privileged namespace (the plugin mounts the kubelet's socket folder), the plugin's configuration and
    its DaemonSet; the RuntimeClass where nobody else makes it, and the control daemon of MPS where cards are shared so.

    Does not: patch a plugin that somebody else installed (DevicePluginPatch does), or divide a card (MIG).
    """

    def __init__(self, name: str, args: DevicePluginArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        nvidia, plugin = args.nvidia, args.plugin
        super().__init__(types.DEVICE_PLUGIN, name, {"image": plugin.image}, opts)
        space = names.NVIDIA_NAMESPACE
        manifest = namespace.namespace(space, pod_security="privileged", component="nvidia", kubernetes=args.kubernetes)
        made = self.declare(f"{name}-namespace", manifest)
        before = [
            self.declare(f"{name}-default-deny", namespace.default_deny(space), depends_on=[made]),
            self.declare(f"{name}-config", manifests.config_map(plugin), depends_on=[made]),
        ]
        if runtime := manifests.runtime_class(nvidia):
            before.append(self.declare(f"{name}-runtime-class", runtime))
        if daemon := manifests.mps_daemon_set(nvidia, plugin):
            before.append(self.declare(f"{name}-mps", daemon, depends_on=before))
        self.declare(name, manifests.daemon_set(nvidia, plugin), depends_on=before)
        self.register_outputs({})
