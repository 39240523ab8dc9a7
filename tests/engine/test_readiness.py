"""When an object counts as ready, and what a wait says meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from engine.apply.readiness import HopelessError, is_awaited, missing

Item = dict[str, Any]


def item(version: str, kind: str, *, spec: Item | None = None, status: Item | None = None, **annotations: str) -> Item:
    metadata = {"name": "n", "namespace": "s", "generation": 2, "annotations": {f"pulumi.com/{k}": v for k, v in annotations.items()}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec or {}, "status": status or {}}


def nothing(path: str, query: object = None) -> None:
    return None


def counts(**numbers: int) -> Item:
    return {"observedGeneration": 2, **numbers}


AVAILABLE = {"conditions": [{"type": "Available", "status": "True"}]}
READY = [
    item("apps/v1", "Deployment", status=counts(replicas=1, updatedReplicas=1, availableReplicas=1) | AVAILABLE),
    item("apps/v1", "Deployment", spec={"replicas": 0}, status=counts()),
    item("apps/v1", "DaemonSet", status=counts(desiredNumberScheduled=0)),
    item("apps/v1", "DaemonSet", status=counts(desiredNumberScheduled=1, numberAvailable=1, updatedNumberScheduled=1)),
    item("apps/v1", "StatefulSet", status=counts(readyReplicas=1, updatedReplicas=1)),
    item("batch/v1", "Job", status={"conditions": [{"type": "Complete", "status": "True"}]}),
    item("v1", "Pod", status={"phase": "Succeeded"}),
    item("v1", "PersistentVolumeClaim", status={"phase": "Bound"}),
    item("v1", "Service", spec={"type": "ExternalName", "selector": {"a": "b"}}),
    item("v1", "Service"),
    item("v1", "Namespace", status={"phase": "Active"}),
    item("v1", "ConfigMap"),
    item("gateway.networking.k8s.io/v1", "Gateway"),
    item("g/v1", "Gateway", waitFor="condition=Programmed", status={"conditions": [{"type": "Programmed", "status": "True"}]}),
    item("g/v1", "Gateway", waitFor='["condition=Down=False"]', status={"conditions": [{"type": "Down", "status": "False"}]}),
    item("apiextensions.k8s.io/v1", "CustomResourceDefinition", status={"conditions": [{"type": "Established", "status": "True"}]}),
]
NOT_READY = [
    (
        item("apps/v1", "Deployment", status={"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}),
        "not seen",
    ),
    (item("apps/v1", "Deployment", status=counts(replicas=2, updatedReplicas=1, availableReplicas=1) | AVAILABLE), "1 of 1 pods available"),
    (item("apps/v1", "Deployment", status=counts(replicas=1, updatedReplicas=1, availableReplicas=1)), "not available"),
    (item("apps/v1", "DaemonSet", status=counts(desiredNumberScheduled=1)), "0 of 1"),
    (item("apps/v1", "DaemonSet", status={}), "not seen"),
    (item("apps/v1", "StatefulSet", status=counts(readyReplicas=1)), "1 of 1"),
    (item("batch/v1", "Job"), "not complete"),
    (item("v1", "Pod", status={"phase": "Running"}), "not ready"),
    (item("v1", "PersistentVolumeClaim", status={"phase": "Pending"}), "not bound"),
    (item("v1", "Service", spec={"selector": {"a": "b"}}), "no pod behind it"),
    (item("v1", "Namespace", status={"phase": "Terminating"}), "Terminating"),
    (item("g/v1", "Gateway", waitFor="condition=Programmed"), "Programmed"),
    (item("apiextensions.k8s.io/v1", "CustomResourceDefinition"), "not established"),
]
HOPELESS = [
    item("apps/v1", "Deployment", status=counts() | {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
    item("batch/v1", "Job", status={"conditions": [{"type": "Failed", "status": "True", "message": "backoff"}]}),
    item("v1", "PersistentVolumeClaim", status={"phase": "Lost"}),
    item("g/v1", "Gateway", waitFor="jsonpath={.a}=b"),
]


@pytest.mark.parametrize("ready", READY, ids=lambda i: i["kind"])
def test_it_is_ready(ready: Item) -> None:
    assert missing(ready, nothing) == ""


@pytest.mark.parametrize(("waiting", "why"), NOT_READY, ids=lambda i: i["kind"] if isinstance(i, dict) else i)
def test_it_is_not_ready_and_says_why(waiting: Item, why: str) -> None:
    assert why in missing(waiting, nothing)


@pytest.mark.parametrize("lost", HOPELESS, ids=lambda i: i["kind"])
def test_it_will_never_be_ready(lost: Item) -> None:
    with pytest.raises(HopelessError):
        missing(lost, nothing)


def test_a_claim_that_waits_for_its_first_consumer_is_ready() -> None:
    claim = item("v1", "PersistentVolumeClaim", spec={"storageClassName": "late"}, status={"phase": "Pending"})

    def get(path: str, query: object = None) -> Item | None:
        return {"volumeBindingMode": "WaitForFirstConsumer"} if path.endswith("/storageclasses/late") else None

    assert missing(claim, get) == ""


@pytest.mark.parametrize(
    ("points", "ready"), [([], False), ([{"conditions": {"ready": False}}], False), ([{"conditions": {"ready": True}}], True)]
)
def test_a_service_waits_for_a_ready_endpoint(points: list[Item], ready: bool) -> None:
    service = item("v1", "Service", spec={"selector": {"a": "b"}})
    slices = {"items": [{"endpoints": points}]}
    assert (missing(service, lambda path, query: slices) == "") is ready


@pytest.mark.parametrize(("value", "awaited"), [("true", False), ("True", False), ("false", True)])
def test_skip_await(value: str, awaited: bool) -> None:
    assert is_awaited(item("v1", "Pod", skipAwait=value)) is awaited


def _waiting(pod: Item, *warnings: Item, **deployment: Item) -> str:
    """What a wait for a Deployment says that has this one pod, about which these events tell."""

    def get(path: str, query: object = None) -> Item | None:
        if path == "/api/v1/namespaces/s/pods":
            assert query == {"labelSelector": "app=n"}
            return {"items": [pod]}
        assert (path, query) == ("/api/v1/namespaces/s/events", {"fieldSelector": "involvedObject.uid=u,type=Warning"})
        return {"items": list(warnings)}

    waiting = item("apps/v1", "Deployment", spec={"selector": {"matchLabels": {"app": "n"}}}, status=counts() | deployment)
    return missing(waiting, get)


def _pod(**status: object) -> Item:
    return {"metadata": {"name": "n-1", "namespace": "s", "uid": "u"}, "status": status}


def _warning(reason: str, message: str, at: str) -> Item:
    return {"reason": reason, "message": message, "lastTimestamp": at}


CREATING = {"containerStatuses": [{"name": "engine", "state": {"waiting": {"reason": "ContainerCreating"}}}]}


def test_a_mount_that_fails_is_told_from_the_last_unusual_event() -> None:
    said = _waiting(
        _pod(**CREATING),
        _warning("FailedMount", "path /models does not exist", "2026-11-21T10:00:02Z"),
        _warning("FailedMount", "not yet", "2026-11-21T10:00:01Z"),
        _warning("FailedScheduling", "no node was ready", "2026-11-21T10:00:03Z"),
        _warning("Unhealthy", "Startup probe failed", "2026-11-21T10:00:03Z"),
    )
    assert said == "0 of 1 pods available, 0 up to date: FailedMount path /models does not exist"


def test_a_startup_probe_that_fails_while_the_model_loads_is_no_complaint() -> None:
    assert _waiting(_pod(), _warning("Unhealthy", "Startup probe failed", "2026-11-21T10:00:03Z")) == "0 of 1 pods available, 0 up to date"


def test_what_the_status_says_comes_before_the_events() -> None:
    crashed = {"containerStatuses": [{"name": "engine", "state": {"terminated": {"exitCode": 137, "message": "killed"}}}]}
    assert "engine: ended with 137 killed" in _waiting(_pod(**crashed))


def test_a_pod_that_runs_has_no_complaints_whatever_happened_before() -> None:
    runs = _pod(containerStatuses=[{"name": "engine", "state": {"running": {"startedAt": "2026-11-21T10:00:01Z"}}}])
    assert _waiting(runs, _warning("FailedMount", "gone by now", "2026-11-21T10:00:02Z")) == "0 of 1 pods available, 0 up to date"


def test_pods_that_admission_refuses_are_told() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": 'violates PodSecurity "restricted:latest"'}
    assert "violates PodSecurity" in _waiting(_pod(), conditions=[refused])
