"""Is the node alive? Asked before each run, so it has a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks import names
from stacks.errors import CheckFailed

if TYPE_CHECKING:
    from probes.kubernetes_api import KubernetesApi

_PROBE_SECONDS = 1.0


def is_alive(stack: str) -> bool:
    """Whether the stack's node, by the stack's own kubeconfig, reports in."""
    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415  (it imports httpx)

    try:
        api = KubernetesApi.from_kubeconfig(names.kubeconfig(stack), timeout=_PROBE_SECONDS)
    except CheckFailed:
        return False
    return ready(api, names.cluster_name(stack))


def ready(api: KubernetesApi, node: str) -> bool:
    """Whether that node is there and ready. What cannot be read is not."""
    import httpx  # noqa: PLC0415  (a tenth of a second that a preview without a cluster need not spend)

    try:
        found = [n for n in api.items("/api/v1/nodes") if n["metadata"]["name"] == node]
        return any(c["type"] == "Ready" and c["status"] == "True" for n in found for c in n["status"]["conditions"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
