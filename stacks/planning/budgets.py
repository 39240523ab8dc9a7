"""The budgets that all models of a machine share: RAM, processors, disk, ports. GPUs and their memory are in
gpus/.
"""

from __future__ import annotations

from collections.abc import Sequence

from stacks import names
from stacks.plan import BudgetPlan, GatewayPlan, ModelPlan
from stacks.planning.clusters import DRIVERS
from stacks.planning.draft import Inputs, Notes, gib

_PULL_AND_CACHE = 1.2  # the model cache keeps a partial download beside the file
_CLUSTER_PODS = 0.75
"""Processors that a cluster's own pods request: kubeadm's API server 0.25, controller manager 0.2, scheduler 0.1, etcd
0.1
(kubernetes v1.36, cmd/kubeadm/app/phases), CoreDNS 0.1 (coredns/deployment). Models request whole ones.
"""


def check_budgets(
    models: Sequence[ModelPlan],
    inputs: Inputs,
    linux_memory: float,
    notes: Notes,
    *,
    one_at_a_time: bool,
    gateway: GatewayPlan | None = None,
    claimed: bool = False,
) -> list[BudgetPlan]:
    """Refuses what does not fit when everything runs at once, and returns what was checked.

    `one_at_a_time`: the engines of a shared card start one after another, so that only one of them is loading.
    `claimed`: the weights are in a claim, and on no disk of the machine.
    """
    return [
        _memory(models, inputs, linux_memory, notes, one_at_a_time=one_at_a_time, gateway=gateway),
        _cpus(models, inputs, notes, gateway),
        _disk(models, inputs, notes, claimed=claimed),
        BudgetPlan(
            name="ports",
            need=1 if gateway else len(models),
            have=len(names.ENDPOINT_PORTS),
            unit="ports",
            what="one for all, published on the machine" if gateway else "one each, published on the machine",
        ),
    ]


def engines(models: Sequence[ModelPlan]) -> str:
    """`1 x a + 2 x b`."""
    return " + ".join(f"{m.replicas} x {m.name}" for m in models)


def _memory(
    models: Sequence[ModelPlan],
    inputs: Inputs,
    linux_memory: float,
    notes: Notes,
    *,
    one_at_a_time: bool,
    gateway: GatewayPlan | None,
) -> BudgetPlan:
    pods = DRIVERS[inputs.settings.cluster.driver].node_memory(inputs, linux_memory)
    if one_at_a_time and models:
        serving = sum(m.replicas * m.resources.memory_request_mib for m in models)
        peak = max(m.resources.memory_limit_mib - m.resources.memory_request_mib for m in models)
        need, how = (
            (serving + peak) / 1024,
            "all serving and the largest one loading: engines of a shared card start one at a time",
        )
    else:
        need, how = sum(m.replicas * m.resources.memory_limit_mib for m in models) / 1024, "all loading at once"
    if gateway:
        need, how = need + gateway.node_memory_mib / 1024, f"{how}, and the gateway"
    if need > pods:
        notes.refuse(
            f"RAM: {engines(models)} may take {gib(need)} while loading, and the node has {gib(pods)} for pods (Linux "
            f"has {gib(linux_memory)}); Kubernetes would kill one: OOMKilled."
        )
    notes.decide(
        "hostMemory", f"{gib(need)} of {gib(pods)}", "derived", "sum of memory limits", f"{engines(models)}, {how}"
    )
    return BudgetPlan(name="host memory", need=round(need, 3), have=round(pods, 3), unit="GiB", what=how)


def _cpus(models: Sequence[ModelPlan], inputs: Inputs, notes: Notes, gateway: GatewayPlan | None) -> BudgetPlan:
    wanted: float = sum(m.replicas * int(m.resources.cpu_request) for m in models)
    machine, who, what = inputs.settings.machine.cpus, engines(models), "requests"
    have, rest = float(machine - 1), "the last one"  # the cluster's own pods and daemons need it
    if gateway and gateway.cpu_millis:
        wanted = round(wanted + gateway.cpu_millis / 1000, 3)
        who, what = f"{who} and the gateway", "requests, the gateway's among them"
        have, rest = machine - _CLUSTER_PODS, f"{_CLUSTER_PODS:g} of one"
    if wanted > have:
        notes.refuse(
            f"CPU: {who} request {wanted} processors and the cluster {rest}, and the machine has "
            f"{machine}; a pod would stay Pending."
        )
    return BudgetPlan(
        name="processors", need=wanted, have=have, unit="processors", what=f"{what}; {rest} is the cluster's"
    )


def _disk(models: Sequence[ModelPlan], inputs: Inputs, notes: Notes, *, claimed: bool) -> BudgetPlan:
    machine, catalog, driver = inputs.settings.machine, inputs.catalog, DRIVERS[inputs.settings.cluster.driver]
    free = machine.disk_free_gib
    image, what = driver.node_disk(inputs)
    fetched = {} if claimed else {w.directory: w.download_gib for m in models for w in m.all_weights}
    weights = sum(fetched.values()) * _PULL_AND_CACHE
    need = image + weights
    kept, why = catalog.number("disk.reserveGiB"), "kept free"
    share = catalog.fact(driver.eviction_fact)
    if machine.disk_total_gib is not None and machine.disk_total_gib * share.value > kept:
        kept, why = (
            machine.disk_total_gib * share.value,
            f"below {share.value:.0%} of {machine.disk_total_gib} GiB the kubelet evicts pods",
        )
    if free is None:
        unchecked = f"{what} and weights; the stack file states no machine.diskFreeGiB, so it is not checked"
        notes.decide("disk", gib(need), "derived", "catalogue: images", unchecked)
        return BudgetPlan(name="disk", need=round(need, 3), have=None, unit="GiB", what=f"{what}, and weights")
    usable = free - kept
    if need > usable:
        notes.refuse(
            f"disk: {what} and {gib(weights)} of weights need {gib(need)}, and of {free} GiB free "
            f"{gib(max(0.0, usable))} may be used ({gib(kept)} {why}); a full disk ends pulls with `no space left on "
            "device`, or the node gets the taint node.kubernetes.io/disk-pressure and its pods are Evicted or stay "
            "Pending."
        )
    notes.decide(
        "disk", f"{gib(need)} of {gib(usable)}", "derived", share.source, f"{what}, and weights; {gib(kept)} {why}"
    )
    return BudgetPlan(name="disk", need=round(need, 3), have=round(usable, 3), unit="GiB", what=f"{what}, and weights")
