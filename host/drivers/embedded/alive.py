"""Is the embedded node alive? Asked before each run, so it has a second."""

from __future__ import annotations

from stacks import names
from stacks.errors import CheckFailed

_PROBE_SECONDS = 1.0


def is_alive(stack: str) -> bool:
    """Whether the kubelet of the stack's one node reports in. An API server that answers without it serves nobody.

    A node that is not there, or an answer that says neither, is not alive; the bootstrap then looks closer and repairs.
    """
    import httpx  # noqa: PLC0415  (a tenth of a second that a preview without a cluster need not spend)

    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415

    try:
        api = KubernetesApi.from_kubeconfig(names.kubeconfig(stack), timeout=_PROBE_SECONDS)
        response = api.get(f"/api/v1/nodes/{names.cluster_name(stack)}")
        response.raise_for_status()
        conditions = response.json()["status"].get("conditions", [])
        return all(c.get("status") == "True" for c in conditions if c.get("type") == "Ready")
    except (httpx.HTTPError, CheckFailed, ValueError, KeyError, TypeError, AttributeError):
        return False
