"""Which nodes can take the engines, and why the others cannot: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.node_facts import driver_major, quantity
from stacks import names
from stacks.plan import ExistingPlan, PodNeedPlan

_KEEPS_PODS_AWAY = ("NoSchedule", "NoExecute")
_LEAST_MEMORY = 0.97
"""Labels round: nvidia.com/gpu.memory of an A100 of 40 GB is 40960 MiB, which CUDA sees 39.39 GiB of."""


@dataclass(frozen=True)
class Room:
    """What a fitting node offers: cards, processors, MiB of memory."""

    node: str
    gpus: int
    cpus: float
    memory_mib: float


def rooms(nodes: Sequence[Mapping[str, Any]], plan: ExistingPlan) -> tuple[list[Room], dict[str, list[str]]]:
    """The nodes that fit, and for each reason the nodes that it keeps out."""
    fitting: list[Room] = []
    others: dict[str, list[str]] = {}
    for node in nodes:
        name, offered = node["metadata"]["name"], node.get("status", {}).get("allocatable") or {}
        if why := _unfit(node, plan):
            others.setdefault(why, []).append(name)
        else:
            memory = quantity(offered.get("memory", "0")) / 2**20
            fitting.append(Room(name, int(quantity(offered[names.GPU])), quantity(offered.get("cpu", "0")), memory))
    return fitting, others


def placed(rooms: Sequence[Room], plan: ExistingPlan) -> bool:
    """Whether all pods find a place, the largest first; on one node where they share its volume."""
    pods = sorted(
        (need for need in plan.needs for _ in range(need.replicas)), key=lambda n: (-n.gpus, -n.memory_mib, n.model)
    )
    if plan.pods.one_node:
        return any(_all_on([room], pods) for room in rooms)
    return _all_on(list(rooms), pods)


def _all_on(rooms: list[Room], pods: Sequence[PodNeedPlan]) -> bool:
    left = {room.node: [room.gpus, room.cpus, room.memory_mib] for room in rooms}
    for pod in pods:
        for node, (gpus, cpus, memory) in left.items():
            if gpus >= pod.gpus and cpus >= quantity(pod.cpu) and memory >= pod.memory_mib:
                left[node] = [gpus - pod.gpus, cpus - quantity(pod.cpu), memory - pod.memory_mib]
                break
        else:
            return False
    return True


def _unfit(node: Mapping[str, Any], plan: ExistingPlan) -> str:
    """Why no engine can run there; empty where one can."""
    labels = node["metadata"].get("labels") or {}
    offered = node.get("status", {}).get("allocatable") or {}
    if quantity(offered.get(names.GPU, "0")) < 1:
        sliced = next((name for name in offered if name.startswith("nvidia.com/mig-")), None)
        if sliced:
            return f"cards are cut into {sliced} there (MIG), and {names.GPU} is not offered"
        return f"no {names.GPU} is offered"
    absent = [f"{key}={value}" for key, value in plan.pods.node_selector.items() if labels.get(key) != value]
    if absent:
        shown = {key: labels.get(key, "absent") for key in plan.pods.node_selector}
        return f"nodeSelector asks for {', '.join(absent)}, and there it is {', '.join(map(str, shown.values()))}"
    conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", ())}
    if conditions.get("Ready") != "True" or node.get("spec", {}).get("unschedulable"):
        return "not Ready, or cordoned"
    for taint in node.get("spec", {}).get("taints") or ():
        if taint["effect"] in _KEEPS_PODS_AWAY and taint["key"] not in plan.pods.tolerations:
            return f"the taint {taint['key']} is not tolerated (cluster.tolerations: [{taint['key']}])"
    return _another_card(labels, plan)


def _another_card(labels: Mapping[str, str], plan: ExistingPlan) -> str:
    """What GPU feature discovery says against the card; it says nothing where it does not run."""
    product = str(labels.get(f"{names.GPU}.product", ""))
    if product and not set(plan.gpu_words) <= set(re.findall(r"[a-z0-9]+", product.lower())):
        return f"its card is {product}, and machine.gpu is {plan.gpu_name}"
    if str(labels.get(f"{names.GPU}.replicas", "1")) not in ("", "0", "1") or product.endswith("-SHARED"):
        return "its cards are shared out in parts, and an engine is planned with a whole one"
    memory = quantity(labels.get(f"{names.GPU}.memory", "0")) / 1024
    if 0 < memory < plan.gpu_total_gib * _LEAST_MEMORY:
        return f"its card has {memory:.1f} GiB, and the plan counts on {plan.gpu_total_gib:.1f}"
    major = driver_major(labels)
    if plan.least_driver and major.isdigit() and int(major) < plan.least_driver:
        return (
            f"its driver is {major}, and the engine's image needs {plan.least_driver} (or write machine.nvidiaDriver)"
        )
    return ""
