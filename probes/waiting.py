"""Pods of a stack that do not serve, and for one that waits for a GPU what the plan counts on and who has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

from probes.diagnosis import Problem, pod_problem
from probes.diagnosis.pod import is_ready
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed
from stacks.plan import NvidiaPlan, Plan

_SHORT: Final = f"Insufficient {names.GPU}"
_ENDED: Final = ("Succeeded", "Failed")
_WAYS: Final = {"timeSlicing": "by time-slicing", "mps": "by MPS", "mig": "as MIG slices"}


@dataclass(frozen=True)
class Waiting:
    """One pod that is not ready, and why."""

    pod: str
    problem: Problem


def waiting(api: KubernetesApi, plan: Plan) -> list[Waiting]:
    """The stack's pods that are not ready, by name. Raises CheckFailed where the cluster cannot be asked."""
    space = plan.kubernetes.namespace
    found = []
    try:
        pods = api.items(f"/api/v1/namespaces/{space}/pods")
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
            name = pod["metadata"]["name"]
            if is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
                continue
            events = api.items(f"/api/v1/namespaces/{space}/events", fieldSelector=f"involvedObject.name={name}")
            problem = pod_problem(pod, events=events)
            if problem is None:
                continue
            if plan.nvidia and _SHORT in problem.evidence:
                with suppress(httpx.HTTPError):  # who may see one namespace only is left with the scheduler's sentence
                    problem = _no_gpu(api, plan, plan.nvidia, problem)
            found.append(Waiting(name, problem.filled(stack=plan.stack, pod=name, namespace=space)))
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise CheckFailed(f"the cluster cannot be asked: {error}", remedy=f"./lab doctor {plan.stack}") from None
    return found


def _no_gpu(api: KubernetesApi, plan: Plan, nvidia: NvidiaPlan, problem: Problem) -> Problem:
    """The scheduler's sentence beside the plan's arithmetic."""
    offered = sum(_count(node.get("status", {}).get("allocatable", {})) for node in api.items("/api/v1/nodes"))
    holders = [pod for pod in api.items("/api/v1/pods") if _holds(pod)]
    own, others = _names(holders, plan.kubernetes.namespace)
    held = sum(_asked(pod) for pod in holders)
    what = (
        f"waits for a GPU: the plan counts on {nvidia.allocatable} {names.GPU} ({_counted(nvidia)}), the cluster "
        f"offers {offered}, and {held} {'is' if held == 1 else 'are'} taken"
    )
    if taken := own + others:
        what += f" by {', '.join(taken)}"
    if offered < nvidia.allocatable:
        remedy = "./lab doctor {stack} looks at the device plugin; ./lab up {stack} gives it its configuration"
    elif others and plan.cluster.foreign:
        remedy = "others have them: wait, or write another cluster.nodeSelector, then ./lab up {stack}"
    elif others:
        remedy = f"stop what the stack does not know: {', '.join(others)}"
    else:
        remedy = "more engines run than the plan has: ./lab refresh {stack}, then ./lab up {stack}"
    return Problem(what, problem.evidence, remedy, final=False)


def _counted(nvidia: NvidiaPlan) -> str:
    cards = f"{nvidia.gpus} card{'s' * (nvidia.gpus != 1)}"
    sharing = nvidia.sharing
    return f"{cards}, each offered {sharing.replicas} times {_WAYS[sharing.kind]}" if sharing.kind in _WAYS else cards


def _names(pods: Sequence[Mapping[str, Any]], namespace: str) -> tuple[list[str], list[str]]:
    own: list[str] = []
    others: list[str] = []
    for pod in pods:
        name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
        (own if space == namespace else others).append(name if space == namespace else f"{space}/{name}")
    return sorted(own), sorted(others)


def _holds(pod: Mapping[str, Any]) -> bool:
    """Whether the scheduler has given it a node, so that what it asks for is taken."""
    placed = bool(pod["spec"].get("nodeName")) and pod.get("status", {}).get("phase") not in _ENDED
    return placed and _asked(pod) > 0


def _asked(pod: Mapping[str, Any]) -> int:
    return sum(_count(c.get("resources", {}).get("limits", {})) for c in pod["spec"]["containers"])


def _count(resources: Mapping[str, Any]) -> int:
    return int(resources.get(names.GPU, 0))
