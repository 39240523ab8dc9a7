"""When an object counts as ready, by the rules of the Kubernetes provider. Each rule gives "" or what is still missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.apply.complaints import Get, Object, complaints, condition, is_true, of_pod
from engine.errors import EngineError

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


def _observed(item: Object) -> bool:
    return bool((item.get("status") or {}).get("observedGeneration", 0) >= item["metadata"].get("generation", 0))


def _deployment(item: Object, get: Get) -> str:
    status, wanted = item.get("status") or {}, (item.get("spec") or {}).get("replicas", 1)
    if not _observed(item):
        return "not seen by its controller yet"
    progressing = condition(item, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        raise HopelessError(f"{progressing.get('message', 'progress deadline exceeded')}{complaints(item, get)}")
    updated, total, ready = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated >= wanted and total == updated and ready >= wanted:
        return "" if wanted == 0 or is_true(item, "Available") else "not available yet"
    return f"{ready} of {wanted} pods available, {updated} up to date{complaints(item, get)}"


def _daemon_set(item: Object, get: Get) -> str:
    status = item.get("status") or {}
    if not _observed(item):
        return "not seen by its controller yet"
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    updated = status.get("updatedNumberScheduled", 0)
    return "" if ready >= wanted and updated >= wanted else f"{ready} of {wanted} pods available{complaints(item, get)}"


def _stateful_set(item: Object, get: Get) -> str:
    status, wanted = item.get("status") or {}, (item.get("spec") or {}).get("replicas", 1)
    if not _observed(item):
        return "not seen by its controller yet"
    ready, updated = (status.get(name, 0) for name in ("readyReplicas", "updatedReplicas"))
    return "" if min(ready, updated) >= wanted else f"{ready} of {wanted} pods ready{complaints(item, get)}"


def _job(item: Object, get: Get) -> str:
    if is_true(item, "Failed"):
        raise HopelessError(f"the job failed: {condition(item, 'Failed').get('message', '')}{complaints(item, get)}")
    return "" if is_true(item, "Complete") else f"not complete{complaints(item, get)}"


def _pod(item: Object, get: Get) -> str:  # noqa: ARG001 (the common form)
    done = (item.get("status") or {}).get("phase") == "Succeeded"
    return "" if done or is_true(item, "Ready") else of_pod(item) or "not ready"


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
    return "" if is_true(item, "Established") else "not established"


def _conditions(item: Object, wanted: str) -> str:
    """The annotation `pulumi.com/waitFor`: one condition or a JSON list of them."""
    names = json.loads(wanted) if wanted.startswith("[") else [wanted]
    for name in names:
        kind, _, value = str(name).partition("=")
        named, _, state = value.partition("=")
        if kind != "condition":
            raise HopelessError(f"{WAIT_FOR}: the embedded engine knows conditions only, not {name}")
        if condition(item, named).get("status") != (state or "True"):
            return f"condition {named} is not {state or 'True'}"
    return ""


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
