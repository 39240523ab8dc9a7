"""Is the profile's node alive? Asked before each run, so it has a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks import names
from stacks.errors import CheckFailed

if TYPE_CHECKING:
    from probes.kubernetes_api import KubernetesApi

_PROBE_SECONDS = 1.0


def is_alive(stack: str) -> bool:
    """Whether the cluster of the stack's kubeconfig has nodes and all of them report in."""
    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415  (it imports httpx)

    try:
        return ready(KubernetesApi.from_kubeconfig(names.kubeconfig(stack), timeout=_PROBE_SECONDS))
    except CheckFailed:
        return False


def ready(api: KubernetesApi) -> bool:
    """Whether there are nodes and all of them are ready. What cannot be read is not."""
    import httpx  # noqa: PLC0415  (a tenth of a second that a preview without a cluster need not spend)

    try:
        nodes = api.items("/api/v1/nodes")
        said = [c["status"] for node in nodes for c in node["status"]["conditions"] if c["type"] == "Ready"]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return False
    return bool(nodes) and said == ["True"] * len(nodes)
