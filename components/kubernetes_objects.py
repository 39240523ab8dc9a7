"""Declares Kubernetes objects from plain manifests, through one explicit provider."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

# The kinds that the lab declares, imported when one is first used.
_KINDS: Mapping[tuple[str, str], Any] = {
    ("v1", "Namespace"): lambda: k8s.core.v1.Namespace,
    ("v1", "PersistentVolume"): lambda: k8s.core.v1.PersistentVolume,
    ("v1", "PersistentVolumeClaim"): lambda: k8s.core.v1.PersistentVolumeClaim,
    ("v1", "Secret"): lambda: k8s.core.v1.Secret,
    ("v1", "Service"): lambda: k8s.core.v1.Service,
    ("v1", "ServiceAccount"): lambda: k8s.core.v1.ServiceAccount,
    ("apps/v1", "DaemonSet"): lambda: k8s.apps.v1.DaemonSet,
    ("apps/v1", "Deployment"): lambda: k8s.apps.v1.Deployment,
    ("networking.k8s.io/v1", "NetworkPolicy"): lambda: k8s.networking.v1.NetworkPolicy,
    ("policy/v1", "PodDisruptionBudget"): lambda: k8s.policy.v1.PodDisruptionBudget,
    ("storage.k8s.io/v1", "StorageClass"): lambda: k8s.storage.v1.StorageClass,
}


@dataclass(frozen=True)
class Kubernetes:
    """The way to one cluster: `bootstrap` is the resource whose removal takes every object with it."""

    provider: k8s.Provider
    bootstrap: pulumi.Resource

    def declare(
        self,
        name: str,
        manifest: Mapping[str, Any],
        *,
        parent: pulumi.Resource,
        depends_on: Sequence[pulumi.Resource] = (),
        timeout_seconds: int | None = None,
    ) -> pulumi.CustomResource:
        """One object of the cluster, as a typed resource called `name` below `parent`. Raises KeyError for a kind
        outside the list.
        """
        kind = _KINDS[manifest["apiVersion"], manifest["kind"]]()
        inputs = {_snake(key): value for key, value in manifest.items() if key not in ("apiVersion", "kind")}
        timeouts = (
            pulumi.CustomTimeouts(create=f"{timeout_seconds}s", update=f"{timeout_seconds}s")
            if timeout_seconds
            else None
        )
        resource: pulumi.CustomResource = kind(
            name,
            **inputs,
            opts=pulumi.ResourceOptions(
                parent=parent,
                provider=self.provider,
                deleted_with=self.bootstrap,
                depends_on=list(depends_on),
                custom_timeouts=timeouts,
            ),
        )
        return resource


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda m: "_" + m.group(1).lower(), name)
