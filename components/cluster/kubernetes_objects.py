"""Components whose children are objects of one cluster, declared from plain manifests as typed resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.gateway.gateway_object_manifests import ENVOY_GATEWAY, GATEWAY_API

# The kinds that the lab declares, imported when one is first used.
_KINDS: Mapping[tuple[str, str], Any] = {
    ("v1", "Namespace"): lambda: k8s.core.v1.Namespace,
    ("v1", "PersistentVolume"): lambda: k8s.core.v1.PersistentVolume,
    ("v1", "PersistentVolumeClaim"): lambda: k8s.core.v1.PersistentVolumeClaim,
    ("v1", "ConfigMap"): lambda: k8s.core.v1.ConfigMap,
    ("v1", "Secret"): lambda: k8s.core.v1.Secret,
    ("v1", "Service"): lambda: k8s.core.v1.Service,
    ("v1", "ServiceAccount"): lambda: k8s.core.v1.ServiceAccount,
    ("apps/v1", "DaemonSet"): lambda: k8s.apps.v1.DaemonSet,
    ("apps/v1", "Deployment"): lambda: k8s.apps.v1.Deployment,
    ("node.k8s.io/v1", "RuntimeClass"): lambda: k8s.node.v1.RuntimeClass,
    ("networking.k8s.io/v1", "NetworkPolicy"): lambda: k8s.networking.v1.NetworkPolicy,
    ("policy/v1", "PodDisruptionBudget"): lambda: k8s.policy.v1.PodDisruptionBudget,
    ("storage.k8s.io/v1", "StorageClass"): lambda: k8s.storage.v1.StorageClass,
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): lambda: k8s.rbac.v1.ClusterRole,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): lambda: k8s.rbac.v1.ClusterRoleBinding,
    ("rbac.authorization.k8s.io/v1", "Role"): lambda: k8s.rbac.v1.Role,
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): lambda: k8s.rbac.v1.RoleBinding,
    ("batch/v1", "Job"): lambda: k8s.batch.v1.Job,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): lambda: k8s.apiextensions.v1.CustomResourceDefinition,
}

# Groups of kinds that a controller brings; the SDK has no type of them.
_CUSTOM_GROUPS = (GATEWAY_API, ENVOY_GATEWAY)

# Objects that others own and that get fields of ours.
_PATCHES: Mapping[tuple[str, str], Any] = {
    ("apps/v1", "DaemonSet"): lambda: k8s.apps.v1.DaemonSetPatch,
}


class KubernetesComponent(pulumi.ComponentResource):
    """A component on a cluster. The provider comes with `opts.providers`; `opts.deleted_with` is the resource whose
    removal takes every object with it, and goes on to the children.
    """

    def __init__(
        self, token: str, name: str, inputs: Mapping[str, Any], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(token, name, dict(inputs), opts)
        self._deleted_with = opts.deleted_with if opts else None

    def declare(
        self,
        name: str,
        manifest: Mapping[str, Any],
        *,
        depends_on: Sequence[pulumi.Resource] = (),
        timeout_seconds: int | None = None,
    ) -> pulumi.CustomResource:
        """One object of the cluster, as a typed resource called `name` below this component. Raises KeyError for a kind
        outside the list.
        """
        opts = self._options(depends_on, timeout_seconds)
        if manifest["apiVersion"].partition("/")[0] in _CUSTOM_GROUPS:
            return k8s.apiextensions.CustomResource(
                name,
                api_version=manifest["apiVersion"],
                kind=manifest["kind"],
                metadata=manifest["metadata"],
                spec=manifest["spec"],
                opts=opts,
            )
        kind = _KINDS[manifest["apiVersion"], manifest["kind"]]()
        resource: pulumi.CustomResource = kind(name, **_inputs(manifest), opts=opts)
        return resource

    def release(
        self, name: str, told: Mapping[str, Any], *, depends_on: Sequence[pulumi.Resource], timeout_seconds: int
    ) -> pulumi.CustomResource:
        """One Helm release, with the arguments of helm.v3.Release in camel case."""
        resource: pulumi.CustomResource = k8s.helm.v3.Release(
            name, **_inputs(told), opts=self._options(depends_on, timeout_seconds)
        )
        return resource

    def _options(self, depends_on: Sequence[pulumi.Resource], timeout_seconds: int | None) -> pulumi.ResourceOptions:
        seconds = f"{timeout_seconds}s" if timeout_seconds else None
        return pulumi.ResourceOptions(
            parent=self,
            deleted_with=self._deleted_with,
            depends_on=list(depends_on),
            custom_timeouts=pulumi.CustomTimeouts(create=seconds, update=seconds) if seconds else None,
        )

    def patch(self, name: str, fields: Mapping[str, Any], *, manager: str) -> pulumi.CustomResource:
        """Fields of an object that somebody else owns, set by server-side apply as `manager`; they are given back when
        the resource goes. Raises KeyError for a kind outside the list.
        """
        kind = _PATCHES[fields["apiVersion"], fields["kind"]]()
        metadata = fields["metadata"]
        marked = {**metadata.get("annotations", {}), "pulumi.com/patchFieldManager": manager}
        resource: pulumi.CustomResource = kind(
            name,
            **_inputs({**fields, "metadata": {**metadata, "annotations": marked}}),
            opts=pulumi.ResourceOptions(parent=self, deleted_with=self._deleted_with),
        )
        return resource


def _inputs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {_snake(key): value for key, value in manifest.items() if key not in ("apiVersion", "kind")}


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m.group(1).lower(), name)
