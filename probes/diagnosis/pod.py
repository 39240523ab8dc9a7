"""What Kubernetes says of a pod that does not serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.diagnosis.engine_log import engine_problem, match
from probes.diagnosis.kubernetes_signatures import KUBERNETES
from probes.diagnosis.nvidia import nvidia_problem
from probes.diagnosis.problem import Problem, clean

_RESTARTS = 2  # a container that ended so often will end again
# what waiting cures, or may cure
_PASSING = (
    "OOMKilled",
    "low on resource",
    "probe failed",
    "Insufficient",
    "FailedMount",
    "untolerated taint",
    "ImagePullBackOff",
    "ErrImagePull",
)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether the pod's own condition says so."""
    conditions = {c["type"]: c.get("status") for c in pod.get("status", {}).get("conditions", [])}
    return conditions.get("Ready") == "True"


def crashed(pod: Mapping[str, Any]) -> bool:
    """Whether a container of the pod has ended on its own, so that the log of that run says why."""
    return crashed_container(pod) is not None


def crashed_container(pod: Mapping[str, Any]) -> str | None:
    """The name of the first container that has, those that run before the engine among them."""
    for container in _containers(pod):
        for state in (container.get("state", {}), container.get("lastState", {})):
            if state.get("terminated", {}).get("exitCode", 0) != 0:
                return str(container.get("name", ""))
    return None


def pod_problem(pod: Mapping[str, Any], *, events: Sequence[Mapping[str, Any]] = (), log: str = "") -> Problem | None:
    """The most specific cause why the pod is not ready, or None where it is: the engine's log first, then the
    kubelet's and the scheduler's. `log` is that of the run that ended, or of the one that runs.
    """
    if is_ready(pod):
        return None
    told = engine_problem(log) if log and crashed(pod) else None
    if told:
        restarts = max((c.get("restartCount", 0) for c in _containers(pod)), default=0)
        return Problem(told.what, told.evidence, told.remedy, final=restarts >= _RESTARTS)
    said = list(_said(pod, events))
    for text in said:
        if found := nvidia_problem(text) or match(KUBERNETES, text, evidence=text):
            passing = any(word in text for word in _PASSING)
            return Problem(found.what, found.evidence, found.remedy, final=not passing)
    if said and crashed(pod):
        remedy = "kubectl logs -n {namespace} --previous {pod} says why"
        return Problem("the container keeps ending", clean("; ".join(said)), remedy)
    if said and not _only_waits(said):
        return Problem("it is not ready", clean("; ".join(said)), "kubectl describe pod -n {namespace} {pod}")
    running = any("running" in c.get("state", {}) for c in _containers(pod))
    what = "the engine is still loading" if running else f"the pod is {pod.get('status', {}).get('phase', 'unknown')}"
    if any("running" in c.get("state", {}) for c in pod.get("status", {}).get("initContainerStatuses", [])):
        what = "its weights are being fetched"
    return Problem(what, clean("; ".join(said)), "wait; kubectl logs -n {namespace} {pod} shows how far it is")


def _only_waits(said: Sequence[str]) -> bool:
    return all(text.startswith(("ContainerCreating", "PodInitializing", "Completed (exit 0)")) for text in said)


def _containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _said(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Everything that was said of the pod, each once, what ends it first."""
    status = pod.get("status", {})
    texts = []
    if status.get("reason"):
        texts.append(f"{status['reason']}: {status.get('message', '')}")
    for container in _containers(pod):
        for state in (container.get("state", {}), container.get("lastState", {})):
            for kind in ("terminated", "waiting"):
                if detail := state.get(kind):
                    code = f" (exit {detail['exitCode']})" if "exitCode" in detail else ""
                    texts.append(f"{detail.get('reason', kind)}{code} {detail.get('message', '')}".strip())
    for condition in status.get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            texts.append(f"{condition.get('reason', 'not scheduled')}: {condition.get('message', '')}")
    warnings = [e for e in events if e.get("type") != "Normal"]
    texts += [f"{e.get('reason', '')}: {e.get('message', '')}" for e in reversed(warnings)]
    yield from dict.fromkeys(text for text in texts if text.strip(": "))
