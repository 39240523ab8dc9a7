"""What pods of the lab's own have alike: how they are closed, and what scanners are told of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pod_security(user: int) -> dict[str, Any]:
    """The securityContext of a pod that runs as `user` and is admitted under Pod Security `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only: bool = True) -> dict[str, Any]:
    """The same of a container; `read_only` is its root file system."""
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": read_only,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def skips(reasons: Mapping[str, str]) -> dict[str, str]:
    """Annotations by which checkov leaves its checks out, each with the reason that reviewers read."""
    return {f"checkov.io/skip{n}": f"{check}={reason}" for n, (check, reason) in enumerate(reasons.items(), 1)}
