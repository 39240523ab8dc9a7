"""A device plugin that the cluster owns, with fields of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from stacks.plan import DevicePluginPlan

_NAMESPACE: Final = "kube-system"
_NAME: Final = "nvidia-device-plugin-daemonset"
_CONTAINER: Final = "nvidia-device-plugin-ctr"
"""NVIDIA's static manifest and minikube's add-on, which is made from it (minikube v1.38.1, deploy/addons)."""


@dataclass(frozen=True)
class DevicePluginPatchArgs:
    """`manager` is the field manager that our fields carry in `metadata.managedFields`."""

    plan: DevicePluginPlan
    manager: str


class DevicePluginPatch(KubernetesComponent):
    """Creates: a server-side apply of fields that nobody else has set on the cluster's DaemonSet. Removing it gives
    them back.

    Does not: take over a field of another manager. Such a field has no value to go back to, and a conflict is an error.
    """

    def __init__(self, name: str, args: DevicePluginPatchArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.DEVICE_PLUGIN_PATCH, name, {"manager": args.manager}, opts)
        self.patch(name, daemon_set_fields(args.plan), manager=args.manager)
        self.register_outputs({})


def daemon_set_fields(plugin: DevicePluginPlan) -> dict[str, Any]:
    """Our fields: what restricts the plugin's container, and what it may take of the node."""
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": _NAME, "namespace": _NAMESPACE},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {
                            "name": _CONTAINER,
                            "securityContext": {
                                "readOnlyRootFilesystem": plugin.read_only_root_filesystem,
                                "seccompProfile": {"type": "RuntimeDefault"},
                            },
                            "resources": {
                                "requests": {"cpu": "50m", "memory": "64Mi"},
                                "limits": {"cpu": "200m", "memory": "256Mi"},
                            },
                        }
                    ]
                }
            }
        },
    }
