"""Pods of a stack that do not serve, and for one that waits for a GPU what the plan counts on and who has it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import httpx

from probes import gpus
from probes.diagnosis import Problem, pod_problem
from probes.diagnosis.pod import is_ready
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed
from stacks.plan import NvidiaPlan, Plan

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
            if plan.nvidia and gpus.SHORT in problem.evidence:
                with suppress(httpx.HTTPError):  # who may see one namespace only is left with the scheduler's sentence
                    problem = _no_gpu(api, plan, plan.nvidia, problem)
            found.append(Waiting(name, problem.filled(stack=plan.stack, pod=name, namespace=space)))
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise CheckFailed(f"the cluster cannot be asked: {error}", remedy=f"./lab doctor {plan.stack}") from None
    return found


def _no_gpu(api: KubernetesApi, plan: Plan, nvidia: NvidiaPlan, problem: Problem) -> Problem:
    """The scheduler's sentence beside the plan's arithmetic."""
    found = gpus.look(api, plan.kubernetes.namespace)
    own, others = sorted(found.own), sorted(found.others)
    what = (
        f"waits for a GPU: the plan counts on {nvidia.allocatable} {names.GPU} ({_counted(nvidia)}), the cluster "
        f"offers {found.offered}, and {found.held} {'is' if found.held == 1 else 'are'} taken"
    )
    if taken := own + others:
        what += f" by {', '.join(taken)}"
    if found.offered < nvidia.allocatable:
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
