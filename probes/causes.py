"""Why a pod is not ready, from what Kubernetes says of it, and what to type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cause:
    """What is wrong, and what helps."""

    what: str
    remedy: str


# A reason of the kubelet or the scheduler (substring), and what helps; the first that matches counts.
_REMEDIES = (
    ("OOMKilled", "the memory limit is too low for loading; let it be derived: remove pin.memoryLimitGiB"),
    ("ErrImageNeverPull", "the image is not on the node; ./lab up {stack} builds and imports it"),
    ("ImagePullBackOff", "the image cannot be pulled: check the network, the registry and the tag"),
    ("ErrImagePull", "the image cannot be pulled: check the network, the registry and the tag"),
    ("CreateContainerConfigError", "a Secret or ConfigMap is missing; type: ./lab up {stack}"),
    ("Insufficient nvidia.com/gpu", "no GPU is free: another pod has it, or the device plugin is not ready"),
    ("Insufficient", "the node has too little of it free: stop something, or lower the model's wishes"),
    ("FailedMount", "the model cache's folder is missing on the node; type: ./lab up {stack}"),
    ("unbound", "the model cache's claim is not bound; type: ./lab up {stack}"),
    (
        "CrashLoopBackOff",
        "the engine ends by itself; its log says why: kubectl logs -n local-ai-models --previous {pod}",
    ),
    ("ContainerCreating", "it is being created; wait"),
)


def of_pod(pod: Mapping[str, Any]) -> Cause | None:
    """The cause why this pod is not ready, or None where it is."""
    status = pod.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return None
    said = []
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        said.append(f"{scheduled.get('reason', 'not scheduled')}: {scheduled.get('message', '')}")
    for container in status.get("containerStatuses", []):
        for state in (container.get("state", {}), container.get("lastState", {})):
            for kind in ("terminated", "waiting"):
                if detail := state.get(kind):
                    code = f" (exit {detail['exitCode']})" if "exitCode" in detail else ""
                    said.append(f"{detail.get('reason', kind)}{code} {detail.get('message', '')}".strip())
    if not said:
        running = any("running" in c.get("state", {}) for c in status.get("containerStatuses", []))
        what = "runs and is not ready: the engine still loads" if running else f"is {status.get('phase', 'unknown')}"
        return Cause(what, "wait; its log says how far it is: kubectl logs -n local-ai-models {pod}")
    what = "; ".join(dict.fromkeys(said))
    return Cause(
        what,
        next(
            (remedy for reason, remedy in _REMEDIES if reason in what),
            "kubectl describe pod -n local-ai-models says more",
        ),
    )
