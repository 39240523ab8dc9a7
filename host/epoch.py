"""Is our cluster alive, and still the one that we made? What `__main__` puts into the bootstrap's environment follows from it."""

from __future__ import annotations

import json
from pathlib import Path

from host.state import folder, generation, record
from stacks import names
from stacks.errors import CheckFailed, HostError

_PROBE_SECONDS = 1.0


class ClusterReplaced(HostError):
    """Another cluster answers where ours was: everything that the state names is gone."""


def wanted_generation(stack: str) -> int:
    """The recorded generation while our cluster answers; one more when it is down, so that the bootstrap Command runs again.

    Without a kubeconfig nothing is probed. Raises ClusterReplaced where the cluster's UID is another one.
    """
    recorded = generation(stack)
    if not Path(names.kubeconfig(stack)).expanduser().exists():
        return recorded + 1 if recorded_uid(stack) else recorded
    uid = cluster_uid(stack)
    if uid is None:
        return recorded + 1
    ours = recorded_uid(stack)
    if ours and uid != ours:
        raise replaced(stack)
    return recorded if node_is_ready(stack) else recorded + 1


def replaced(stack: str) -> ClusterReplaced:
    """The error that says so, and what to type."""
    return ClusterReplaced(
        f"the cluster of stack {stack} is not the one that was recorded: what the state names is gone",
        remedy=f"./lab up {stack} makes it anew; with plain Pulumi: pulumi destroy -s {stack}, then pulumi up -s {stack}",
    )


def cluster_uid(stack: str) -> str | None:
    """The UID of kube-system as the cluster of the stack's kubeconfig says it; None where it does not answer in a second."""
    import httpx  # noqa: PLC0415  (a tenth of a second that a preview without a cluster need not spend)

    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415

    try:
        api = KubernetesApi.from_kubeconfig(names.kubeconfig(stack), timeout=_PROBE_SECONDS)
        response = api.get("/api/v1/namespaces/kube-system")
        response.raise_for_status()
        return str(response.json()["metadata"]["uid"])
    except (httpx.HTTPError, CheckFailed, ValueError, KeyError):
        return None


def node_is_ready(stack: str) -> bool:
    """Whether the kubelet of the stack's embedded node reports in; True where there is no such node: another driver's cluster."""
    import httpx  # noqa: PLC0415

    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415

    try:
        api = KubernetesApi.from_kubeconfig(names.kubeconfig(stack), timeout=_PROBE_SECONDS)
        response = api.get(f"/api/v1/nodes/{names.cluster_name(stack)}")
        conditions = response.json().get("status", {}).get("conditions", [])
    except (httpx.HTTPError, CheckFailed, ValueError):
        return True
    return all(c.get("status") == "True" for c in conditions if c.get("type") == "Ready")


def recorded_uid(stack: str) -> str | None:
    """The UID that the bootstrap recorded."""
    path = folder(stack) / "cluster.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8")).get("clusterUid")
    return str(found) if found else None


def accept_replacement(stack: str) -> None:
    """Records the cluster that answers as ours; the caller looks at every object again."""
    record(stack, generation(stack), cluster_uid(stack) or "")
