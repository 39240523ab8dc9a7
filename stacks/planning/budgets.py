"""The budgets that all models of a machine share: GPUs, RAM, processors, disk."""

from __future__ import annotations

from collections.abc import Sequence

from stacks.planning.clusters import node_memory_gib
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.plan import ModelPlan
from stacks.settings import NvidiaMachine

_PULL_AND_CACHE = 1.2  # the model cache keeps a partial download beside the file


def check_budgets(models: Sequence[ModelPlan], inputs: Inputs, linux_memory: float, notes: Notes) -> None:
    """Refuses what does not fit when everything runs at once."""
    _check_gpus(models, inputs, notes)
    _check_memory(models, inputs, linux_memory, notes)
    _check_cpus(models, inputs, notes)
    _check_disk(models, inputs, notes)


def _engines(models: Sequence[ModelPlan]) -> str:
    return " + ".join(f"{m.replicas} x {m.name}" for m in models)


def _check_gpus(models: Sequence[ModelPlan], inputs: Inputs, notes: Notes) -> None:
    machine = inputs.settings.machine
    wanted = sum(m.replicas * m.resources.gpus for m in models)
    if not isinstance(machine, NvidiaMachine):
        return
    if wanted > machine.gpus:
        shared = sum(
            m.replicas * (m.memory.weights_gib + m.memory.activation_gib + m.memory.non_torch_gib + m.memory.kv_needed_gib) for m in models
        )
        total, desktop, context = models[0].memory.total_gib, models[0].memory.desktop_gib, models[0].memory.context_gib
        free = machine.gpus * (total - desktop) - wanted * context
        verdict = "would not fit either" if shared > free else "would fit, but sharing a card is not offered yet"
        notes.refuse(
            f"{_engines(models)} want {wanted} GPUs, one each, and the machine has {machine.gpus}. Sharing: they need {gib(shared)} (weights, activations, "
            f"one full request each) of {gib(free)} beside desktop and {wanted} CUDA contexts, so that {verdict}; engines on one card share its compute."
        )
    notes.decide("gpus", f"{wanted} of {machine.gpus}", "derived", "one GPU an engine", f"exclusive: {_engines(models)}")


def _check_memory(models: Sequence[ModelPlan], inputs: Inputs, linux_memory: float, notes: Notes) -> None:
    limits = sum(m.replicas * m.resources.memory_limit_mib for m in models) / 1024
    pods = node_memory_gib(inputs, linux_memory)
    if limits > pods:
        notes.refuse(
            f"RAM: {_engines(models)} may take {gib(limits)} while loading, and the node has {gib(pods)} for pods (Linux has {gib(linux_memory)}); "
            "Kubernetes would kill one: OOMKilled."
        )
    notes.decide(
        "hostMemory", f"{gib(limits)} of {gib(pods)}", "derived", "sum of memory limits", f"{_engines(models)}, all loading at once"
    )


def _check_cpus(models: Sequence[ModelPlan], inputs: Inputs, notes: Notes) -> None:
    wanted = sum(m.replicas * int(m.resources.cpu_request) for m in models)
    have = inputs.settings.machine.cpus
    if wanted >= have:  # the cluster's own pods and daemons need the last one
        notes.refuse(
            f"CPU: {_engines(models)} request {wanted} processors and the cluster the last one, and the machine has {have}; a pod would stay Pending."
        )


def _check_disk(models: Sequence[ModelPlan], inputs: Inputs, notes: Notes) -> None:
    free = inputs.settings.machine.disk_free_gib
    if inputs.settings.cluster.driver == "embedded":
        image = inputs.catalog.number("embedded.diskGiB")
        what = "builds, caches and the image"
    else:
        cuda = inputs.catalog.images["vllm-cuda"]
        image = cuda.unpacked_gib.value + cuda.compressed_gib.value
        what = f"the image, unpacked and while it is pulled ({gib(cuda.unpacked_gib.value)} + {gib(cuda.compressed_gib.value)})"
    weights = sum({m.weights.directory: m.weights.download_gib for m in models}.values()) * _PULL_AND_CACHE
    need = image + weights
    if free is None:
        notes.decide(
            "disk",
            gib(need),
            "derived",
            "catalogue: images",
            f"{what} and weights; the stack file states no machine.diskFreeGiB, so it is not checked",
        )
        return
    usable = free - inputs.catalog.number("disk.reserveGiB")
    if need > usable:
        notes.refuse(
            f"disk: {what} and {gib(weights)} of weights need {gib(need)}, and of {free} GiB free {gib(usable)} may be used; a full disk "
            "ends pulls with `no space left on device` and breaks Docker, etcd and the node."
        )
    notes.decide("disk", f"{gib(need)} of {gib(usable)}", "derived", inputs.catalog.fact("disk.reserveGiB").source, f"{what}, and weights")
