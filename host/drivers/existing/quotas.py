"""ResourceQuotas and LimitRanges of the namespace that leave too little: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probes.node_facts import quantity
from stacks import names
from stacks.plan import ExistingPlan

_MIB = 2**20


def short(
    quotas: Sequence[Mapping[str, Any]], limits: Sequence[Mapping[str, Any]], plan: ExistingPlan
) -> Iterator[str]:
    """What is too small, in words."""
    asked = _asked(plan)
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = status.get("hard") or quota["spec"].get("hard") or {}, status.get("used") or {}
        for name, need in asked.items():
            if name in hard and need > (left := quantity(hard[name]) - quantity(used.get(name, "0"))):
                said = f"leaves {_shown(name, left)} of {name}, and {_shown(name, need)} are needed"
                yield f"ResourceQuota {quota['metadata']['name']} {said}"
    for ranges in limits:
        for limit in ranges["spec"].get("limits") or ():
            if limit.get("type") in ("Container", "Pod"):
                yield from _too_large(ranges["metadata"]["name"], limit.get("max") or {}, plan)


def _asked(plan: ExistingPlan) -> dict[str, float]:
    def total(of: str) -> float:
        return sum(need.replicas * quantity(getattr(need, of)) for need in plan.needs)

    cpu, memory = total("cpu"), total("memory_mib") * _MIB
    return {
        f"requests.{names.GPU}": total("gpus"),
        "requests.cpu": cpu, "cpu": cpu, "limits.cpu": total("cpu_limit"),
        "requests.memory": memory, "memory": memory, "limits.memory": total("memory_limit_mib") * _MIB,
        "requests.storage": plan.claim.size_gib * 2**30,
        "persistentvolumeclaims": 1, "pods": total("replicas"), "count/deployments.apps": len(plan.needs),
    }  # fmt: skip


def _too_large(name: str, most: Mapping[str, Any], plan: ExistingPlan) -> Iterator[str]:
    for need in plan.needs:
        for resource, value in (("cpu", quantity(need.cpu_limit)), ("memory", need.memory_limit_mib * _MIB)):
            if resource in most and value > quantity(most[resource]):
                said = f"{most[resource]} of {resource}, and {need.model} needs {_shown(resource, value)}"
                yield f"LimitRange {name} allows {said}"


def _shown(resource: str, value: float) -> str:
    """Bytes as GiB."""
    return f"{value / 2**30:.1f} GiB" if resource.endswith(("memory", "storage")) else f"{value:g}"
