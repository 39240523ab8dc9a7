"""The GPUs that a cluster offers, against those that a stack's pods ask for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from probes.diagnosis import Problem
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed

PLUGIN_SECONDS: Final = 120.0
"""How long too few GPUs may be a device plugin that restarts: its pod has 30 s to end (Kubernetes,
terminationGracePeriodSeconds), another one takes about as long to start, and the kubelet says a new count within 10 s
(KubeletConfiguration, nodeStatusUpdateFrequency); the rest is left to a busy machine.
"""
SHORT: Final = f"Insufficient {names.GPU}"
"""What the scheduler says of a pod that gets none."""

_POLL_SECONDS = 2.0
_SAID_EVERY = 10.0
_ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Gpus:
    """`offered` by the nodes, and which pods hold how many: those of the stack by name, `others` by namespace/name."""

    offered: int
    own: Mapping[str, int]
    others: Mapping[str, int]

    @property
    def held(self) -> int:
        """Those that pods have."""
        return sum(self.own.values()) + sum(self.others.values())

    def shortage(self, needed: int) -> Problem | None:
        """Why `needed` GPUs cannot be had, although the stack's own pods give theirs back; None where they can."""
        taken = sum(self.others.values())
        if self.offered - taken >= needed:
            return None
        what = f"the stack's pods ask for {needed} {names.GPU}, and the cluster offers {self.offered}"
        if self.offered < needed:
            remedy = "./lab doctor {stack} looks at the cards and the device plugin; then ./lab up {stack}"
            return Problem(what, "", remedy)
        who = ", ".join(sorted(self.others))
        is_taken = f"{taken} of them {'is' if taken == 1 else 'are'} taken by {who}"
        return Problem(f"{what}; {is_taken}", "", f"stop {who}; then: ./lab up {{stack}}")


def look(api: KubernetesApi, namespace: str) -> Gpus:
    """What there is now, for a stack in `namespace`. Raises httpx.HTTPError."""
    offered = sum(count(node.get("status", {}).get("allocatable", {})) for node in api.items("/api/v1/nodes"))
    own: dict[str, int] = {}
    others: dict[str, int] = {}
    for pod in api.items("/api/v1/pods"):
        if _placed(pod) and (asked := asks(pod["spec"])):
            name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
            (own if space == namespace else others)[name if space == namespace else f"{space}/{name}"] = asked
    return Gpus(offered, own, others)


def asks(spec: Mapping[str, Any]) -> int:
    """How many a pod with that specification asks for."""
    return sum(count(c.get("resources", {}).get("limits", {})) for c in spec["containers"])


def count(resources: Mapping[str, Any]) -> int:
    """The GPUs in a list of resources."""
    return int(resources.get(names.GPU, 0))


def wait(api: KubernetesApi, namespace: str, needed: int, say: Callable[[str], None], *, stack: str) -> Gpus:
    """Waits until `needed` GPUs can be had, at most as long as a device plugin takes to restart. Raises CheckFailed
    with the cause.
    """
    begin = said = time.monotonic()
    while True:
        try:
            found = look(api, namespace)
        except httpx.HTTPError as error:
            raise CheckFailed(f"the cluster's GPUs cannot be read: {error}", remedy=f"./lab doctor {stack}") from None
        problem, now = found.shortage(needed), time.monotonic()
        if problem is None:
            return found
        if now - begin > PLUGIN_SECONDS:
            filled = problem.filled(stack=stack)
            raise CheckFailed(f"{filled.what} ({PLUGIN_SECONDS:.0f} s were waited)", remedy=filled.remedy)
        if now - said >= _SAID_EVERY:
            said = now
            say(f"{problem.what}: waiting for the device plugin, {now - begin:.0f} s")
        time.sleep(_POLL_SECONDS)


class Shortage:
    """Whether pods that wait for a GPU wait in vain: for those that have asked for longer than a device plugin takes to
    restart, while the cluster has fewer than all Deployments of the namespace ask for.
    """

    def __init__(self, api: KubernetesApi, namespace: str, stack: str) -> None:
        self._api, self._namespace, self._stack = api, namespace, stack
        self._since: float | None = None
        self.problem: Problem | None = None

    def lasts(self, said: Problem | None) -> bool:
        """Looks once more; `said` is why the pods are not ready. Sets `problem` where it has lasted too long."""
        found = self._found() if said and SHORT in said.evidence else None
        if found is None:
            self._since = None
            return False
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since <= PLUGIN_SECONDS:
            return False
        self.problem = found.filled(stack=self._stack)
        return True

    def _found(self) -> Problem | None:
        try:
            made = self._api.items(f"/apis/apps/v1/namespaces/{self._namespace}/deployments")
            needed = sum(d["spec"].get("replicas", 1) * asks(d["spec"]["template"]["spec"]) for d in made)
            return look(self._api, self._namespace).shortage(needed)
        except (httpx.HTTPError, KeyError, ValueError):
            return None


def _placed(pod: Mapping[str, Any]) -> bool:
    """Whether the scheduler has given it a node, so that what it asks for is taken."""
    return bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in _ENDED
