"""What a cluster says about pods that do not come up, so that a wait says more than that it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

Object = Mapping[str, Any]
Get = Callable[[str, Mapping[str, str] | None], dict[str, Any] | None]

_PAST: Final = {"Unhealthy", "FailedScheduling"}  # a startup probe that fails while a model loads; a pod that waited and has its node now


def condition(item: Object, name: str) -> Mapping[str, Any]:
    """The condition of that type; empty where the object has none."""
    found = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in found if condition.get("type") == name), {})


def is_true(item: Object, name: str) -> bool:
    """Whether the object has that condition, and it holds."""
    return condition(item, name).get("status") == "True"


def complaints(item: Object, get: Get) -> str:
    """The troubles of a workload and of its pods, each once, after a colon; "" where there is none. `get` reads from the API server."""
    labels = ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    found = get(f"/api/v1/namespaces/{item['metadata']['namespace']}/pods", {"labelSelector": selector}) if selector else None
    refused = [str(condition(item, "ReplicaFailure").get("message", ""))] if is_true(item, "ReplicaFailure") else []
    troubles = {*refused, *(of_pod(pod) or _last_warning(pod, get) for pod in (found or {}).get("items") or [])}
    told = sorted(filter(None, troubles))
    return f": {'; '.join(told)}" if told else ""


def of_pod(pod: Object) -> str:
    """What the pod's own status says is wrong with it, or ""."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{container['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()
        if ended.get("exitCode"):
            return f"{container['name']}: ended with {ended['exitCode']} {ended.get('message', '')}".strip()
    scheduled = condition(pod, "PodScheduled")
    return f"not scheduled: {scheduled.get('message', '')}" if scheduled.get("status") == "False" else ""


def _last_warning(pod: Object, get: Get) -> str:
    """A mount or a sandbox that fails stands in no status, only in events; a container that runs has that behind it."""
    metadata = pod.get("metadata") or {}
    running = any((container.get("state") or {}).get("running") for container in (pod.get("status") or {}).get("containerStatuses") or [])
    if running or not metadata.get("uid"):
        return ""
    query = {"fieldSelector": f"involvedObject.uid={metadata['uid']},type=Warning"}
    events: Iterable[Object] = (get(f"/api/v1/namespaces/{metadata['namespace']}/events", query) or {}).get("items") or []
    unusual = [event for event in events if event.get("reason") not in _PAST]
    last = max(unusual, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""), default={})
    return f"{last['reason']} {last.get('message', '')}".strip() if last.get("reason") else ""
