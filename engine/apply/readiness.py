"""When an object counts as ready, by the rules of the Kubernetes provider. Each rule gives "" or what is still missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.errors import EngineError

Object = Mapping[str, Any]
Get = Callable[[str, Mapping[str, str] | None], dict[str, Any] | None]

SKIP: Final = "pulumi.com/skipAwait"
TIMEOUT: Final = "pulumi.com/timeoutSeconds"
WAIT_FOR: Final = "pulumi.com/waitFor"
DEFAULT_TIMEOUT: Final = 600.0


class HopelessError(EngineError):
    """Waiting longer will not help."""


def notes(item: Object) -> Mapping[str, Any]:
    """The annotations of an object, which may have none."""
    return (item.get("metadata") or {}).get("annotations") or {}


def is_awaited(item: Object) -> bool:
    """Whether the object is waited for at all."""
    return str(notes(item).get(SKIP, "")).lower() != "true"


def missing(item: Object, get: Get) -> str:
    """What is missing, in words; `get` reads other objects from the API server. Raises HopelessError."""
    wanted = notes(item).get(WAIT_FOR)
    if wanted:
        return _conditions(item, str(wanted))
    rule = _RULES.get((str(item.get("apiVersion", "")).rpartition("/")[0], str(item.get("kind"))))
    return rule(item, get) if rule else ""


def _condition(item: Object, name: str) -> Mapping[str, Any]:
    found = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in found if condition.get("type") == name), {})


def _is_true(item: Object, name: str) -> bool:
    return _condition(item, name).get("status") == "True"


def _observed(item: Object) -> bool:
    return bool((item.get("status") or {}).get("observedGeneration", 0) >= item["metadata"].get("generation", 0))


def _deployment(item: Object, get: Get) -> str:
    status, wanted = item.get("status") or {}, (item.get("spec") or {}).get("replicas", 1)
    if not _observed(item):
        return "not seen by its controller yet"
    progressing = _condition(item, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        raise HopelessError(f"{progressing.get('message', 'progress deadline exceeded')}{_pods(item, get)}")
    updated, total, ready = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated >= wanted and total == updated and ready >= wanted:
        return "" if wanted == 0 or _is_true(item, "Available") else "not available yet"
    return f"{ready} of {wanted} pods available, {updated} up to date{_pods(item, get)}"


def _daemon_set(item: Object, get: Get) -> str:
    status = item.get("status") or {}
    if not _observed(item):
        return "not seen by its controller yet"
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    updated = status.get("updatedNumberScheduled", 0)
    return "" if ready >= wanted and updated >= wanted else f"{ready} of {wanted} pods available{_pods(item, get)}"


def _stateful_set(item: Object, get: Get) -> str:
    status, wanted = item.get("status") or {}, (item.get("spec") or {}).get("replicas", 1)
    if not _observed(item):
        return "not seen by its controller yet"
    ready = status.get("readyReplicas", 0)
    return "" if ready >= wanted and status.get("updatedReplicas", 0) >= wanted else f"{ready} of {wanted} pods ready{_pods(item, get)}"


def _job(item: Object, get: Get) -> str:
    if _is_true(item, "Failed"):
        raise HopelessError(f"the job failed: {_condition(item, 'Failed').get('message', '')}{_pods(item, get)}")
    return "" if _is_true(item, "Complete") else f"not complete{_pods(item, get)}"


def _pod(item: Object, get: Get) -> str:  # noqa: ARG001 (the common form)
    done = (item.get("status") or {}).get("phase") == "Succeeded"
    return "" if done or _is_true(item, "Ready") else _pod_trouble(item) or "not ready"


def _claim(item: Object, get: Get) -> str:
    phase = (item.get("status") or {}).get("phase")
    if phase == "Bound":
        return ""
    if phase == "Lost":
        raise HopelessError("its volume is lost")
    name = (item.get("spec") or {}).get("storageClassName")
    storage = get(f"/apis/storage.k8s.io/v1/storageclasses/{name}", None) if name else None
    return "" if (storage or {}).get("volumeBindingMode") == "WaitForFirstConsumer" else "not bound to a volume"


def _service(item: Object, get: Get) -> str:
    spec, metadata = item.get("spec") or {}, item["metadata"]
    if spec.get("type") == "ExternalName" or not spec.get("selector"):
        return ""
    if spec.get("type") == "LoadBalancer" and not ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return "no load balancer address yet"
    path = f"/apis/discovery.k8s.io/v1/namespaces/{metadata['namespace']}/endpointslices"
    slices = (get(path, {"labelSelector": f"kubernetes.io/service-name={metadata['name']}"}) or {}).get("items") or []
    ready = [point for part in slices for point in part.get("endpoints") or [] if (point.get("conditions") or {}).get("ready") is not False]
    return "" if ready else "no pod behind it is ready"


def _namespace(item: Object, get: Get) -> str:  # noqa: ARG001 (the common form)
    phase = (item.get("status") or {}).get("phase")
    return "" if phase == "Active" else f"the namespace is {phase or 'not active yet'}"


def _definition(item: Object, get: Get) -> str:  # noqa: ARG001 (the common form)
    return "" if _is_true(item, "Established") else "not established"


def _conditions(item: Object, wanted: str) -> str:
    """The annotation `pulumi.com/waitFor`: one condition or a JSON list of them."""
    names = json.loads(wanted) if wanted.startswith("[") else [wanted]
    for name in names:
        kind, _, value = str(name).partition("=")
        condition, _, state = value.partition("=")
        if kind != "condition":
            raise HopelessError(f"{WAIT_FOR}: the embedded engine knows conditions only, not {name}")
        if _condition(item, condition).get("status") != (state or "True"):
            return f"condition {condition} is not {state or 'True'}"
    return ""


def _pods(item: Object, get: Get) -> str:
    """What its pods complain about, so that a wait says more than that it waits."""
    labels = ((item.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    found = get(f"/api/v1/namespaces/{item['metadata']['namespace']}/pods", {"labelSelector": selector}) if selector else None
    troubles = sorted({text for pod in (found or {}).get("items") or [] if (text := _pod_trouble(pod))})
    return f": {'; '.join(troubles)}" if troubles else ""


def _pod_trouble(pod: Object) -> str:
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{container['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()
        if ended.get("exitCode"):
            return f"{container['name']}: ended with {ended['exitCode']} {ended.get('message', '')}".strip()
    scheduled = _condition(pod, "PodScheduled")
    return f"not scheduled: {scheduled.get('message', '')}" if scheduled.get("status") == "False" else ""


_RULES: Final[Mapping[tuple[str, str], Callable[[Object, Get], str]]] = {
    ("", "Namespace"): _namespace,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "Job"): _job,
}
