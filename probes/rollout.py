"""Is a Deployment's rollout over? The engine of Pulumi reports a `Recreate` rollout as complete while the old pod is
still going.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed

_REVISION = "deployment.kubernetes.io/revision"
_HASH = "pod-template-hash"
_POLL_SECONDS = 1.0
_SAID_EVERY = 10.0  # seconds between two words of progress
_SLACK_SECONDS = 30.0  # the controller notices its own deadline a moment late


def unfinished(deployment: Mapping[str, Any], replica_sets: list[dict[str, Any]], pods: list[dict[str, Any]]) -> str:
    """What is missing for the rollout to be over, in words; empty where it is.

    Over means: the controller has seen this generation, all replicas are of this revision and available, and no pod of
    an older
    revision is left (kubectl rollout status looks at the same fields, and not at the pods).
    """
    wanted, status = deployment["spec"].get("replicas", 1), deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "the controller has not seen the change yet"
    revision = deployment["metadata"].get("annotations", {}).get(_REVISION)
    current = {
        r["metadata"]["labels"].get(_HASH)
        for r in replica_sets
        if r["metadata"].get("annotations", {}).get(_REVISION) == revision
    }
    older = [p["metadata"]["name"] for p in pods if p["metadata"]["labels"].get(_HASH) not in current]
    if older:
        return f"{len(older)} pod{'s' * (len(older) != 1)} of an older revision still going: {', '.join(older)}"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > wanted:
        return f"{available} of {wanted} replicas available"
    return ""


def look(api: KubernetesApi, namespace: str, name: str, *, stack: str = "STACK") -> tuple[str, dict[str, Any]]:
    """What is missing, and the Deployment as the API server has it. Raises CheckFailed where there is none, and
    httpx.HTTPError.
    """
    base = f"/apis/apps/v1/namespaces/{namespace}"
    found = api.get(f"{base}/deployments/{name}")
    if found.status_code == httpx.codes.NOT_FOUND:
        raise CheckFailed(
            f"there is no Deployment {name} in namespace {namespace}",
            remedy=f"it was deleted by hand; type: ./lab refresh {stack}, then ./lab up {stack}",
        )
    found.raise_for_status()
    deployment: dict[str, Any] = found.json()
    if names.ENGINE_LABEL not in deployment["spec"]["selector"]["matchLabels"]:
        return _missing(api, namespace, deployment), deployment
    # engines that share a card: a Deployment each
    engines = api.items(f"{base}/deployments", labelSelector=f"app.kubernetes.io/name={name}")
    for engine in sorted(engines, key=lambda e: int(e["spec"]["selector"]["matchLabels"][names.ENGINE_LABEL])):
        if missing := _missing(api, namespace, engine):
            return f"{engine['metadata']['name']}: {missing}", engine
    return "", deployment


def _missing(api: KubernetesApi, namespace: str, deployment: dict[str, Any]) -> str:
    base = f"/apis/apps/v1/namespaces/{namespace}"
    labels = ",".join(f"{k}={v}" for k, v in deployment["spec"]["selector"]["matchLabels"].items())
    sets = api.items(f"{base}/replicasets", labelSelector=labels)
    return unfinished(deployment, sets, api.items(f"/api/v1/namespaces/{namespace}/pods", labelSelector=labels))


def wait(
    api: KubernetesApi,
    namespace: str,
    name: str,
    say: Callable[[str], None],
    *,
    stack: str = "STACK",
    hopeless: Callable[[], object] = lambda: None,
) -> str:
    """Waits until the rollout is over, at most as long as the Deployment's own progress deadline; returns what is
    missing
    then. Ends earlier where `hopeless` finds a cause that waiting cannot cure.
    """
    begin = said = time.monotonic()
    while True:
        missing, deployment = look(api, namespace, name, stack=stack)
        waited = time.monotonic() - begin
        if not missing or waited > deployment["spec"].get("progressDeadlineSeconds", 600) + _SLACK_SECONDS:
            return missing
        if time.monotonic() - said >= _SAID_EVERY:
            if hopeless():
                return missing
            said = time.monotonic()
            say(f"waiting for the rollout of {name}: {missing}, {waited:.0f} s")
        time.sleep(_POLL_SECONDS)
