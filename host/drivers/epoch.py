"""Is our cluster alive, and still the one that we made? What `__main__` puts into the bootstrap's environment follows
from it.

The epoch is a number in the bootstrap's environment: it goes up when our cluster is found dead, so that the otherwise
unchanged Command runs again. What alive means beyond an API server that answers is the driver's to say.
"""

from __future__ import annotations

import json
from pathlib import Path

from host.drivers import FOREIGN, WITHOUT_API_SERVER, optional
from host.system import state
from stacks import names
from stacks.errors import CheckFailed, HostError

_PROBE_SECONDS = 1.0


class ClusterReplaced(HostError):
    """Another cluster answers where ours was: everything that the state names is gone."""


def wanted_epoch(stack: str, driver: str) -> int:
    """The recorded epoch while our cluster is alive; one more when it is not.

    Without a kubeconfig nothing is probed. Raises ClusterReplaced where the cluster's UID is another one, HostError
    where another checkout made the stack.
    """
    state.check_owner(stack, Path(__file__).resolve().parents[2])
    recorded = state.epoch(stack)
    if driver in WITHOUT_API_SERVER:
        return recorded if not recorded_uid(stack) or _driver_says_alive(stack, driver) else recorded + 1
    if not Path(names.kubeconfig(stack)).expanduser().exists():
        return recorded + 1 if recorded_uid(stack) else recorded
    longer = optional(driver, "probe_seconds")
    uid = cluster_uid(stack, seconds=longer() if longer else _PROBE_SECONDS)
    if uid is None:
        return recorded + 1
    ours = recorded_uid(stack)
    if ours and uid != ours:
        raise _not_ours(stack) if driver in FOREIGN else replaced(stack)
    return recorded if _driver_says_alive(stack, driver) else recorded + 1


def replaced(stack: str) -> ClusterReplaced:
    """The error that says so, and what to type."""
    return ClusterReplaced(
        f"the cluster of stack {stack} is not the one that was recorded: what the state names is gone",
        remedy=f"./lab up {stack} makes it again; with plain Pulumi: pulumi destroy -s {stack}, then pulumi up -s "
        f"{stack}",
    )


def _not_ours(stack: str) -> HostError:
    return HostError(
        f"the cluster that answers is not the one that stack {stack} was made in: nothing was changed",
        remedy=f"./lab status {stack} says more; give the stack here another name: git mv Pulumi.{stack}.yaml "
        "Pulumi.NAME.yaml",
    )


def cluster_uid(stack: str, *, seconds: float = _PROBE_SECONDS) -> str | None:
    """The UID of kube-system as the cluster of the stack's kubeconfig says it; None where it does not answer so in
    that time.
    """
    import httpx  # noqa: PLC0415  (a tenth of a second that a preview without a cluster need not spend)

    from probes.kubernetes_api import KubernetesApi  # noqa: PLC0415

    try:
        api = KubernetesApi.from_kubeconfig(names.kubeconfig(stack), timeout=seconds)
        response = api.get("/api/v1/namespaces/kube-system")
        response.raise_for_status()
        return str(response.json()["metadata"]["uid"])
    except (httpx.HTTPError, CheckFailed, ValueError, KeyError, TypeError):
        return None


def recorded_uid(stack: str) -> str | None:
    """The UID that the bootstrap recorded."""
    path = state.folder(stack) / "cluster.json"
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8")).get("clusterUid")
    return str(found) if found else None


def accept_replacement(stack: str) -> None:
    """Records the cluster that answers as ours; the caller looks at every object again."""
    state.record(stack, state.epoch(stack), cluster_uid(stack) or "")


def _driver_says_alive(stack: str, driver: str) -> bool:
    """What the driver's own `is_alive` says of a cluster that answers; a driver without one has nothing to add."""
    look = optional(driver, "is_alive")
    return look is None or bool(look(stack))
