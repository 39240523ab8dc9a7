"""What one engine's container asks of the node: memory while loading, processors, /dev/shm, scratch."""

from __future__ import annotations

from math import ceil

from stacks.catalog import Model
from stacks.plan import ResourcesPlan
from stacks.planning.draft import Inputs, Notes, gib
from stacks.settings import NvidiaMachine, VllmModel

_MIB = 1024  # MiB of a GiB
_SHM = "/dev/shm"  # noqa: S108  (the container's own)


def pod_resources(
    spec: VllmModel,
    model: Model,
    activation_gib: float,
    inputs: Inputs,
    notes: Notes,
    *,
    multimodal: bool,
    cards: int = 1,
    adapters_gib: float = 0.0,
) -> ResourcesPlan:
    """Requests and limits, each with its decision; refuses a pinned limit that loading outgrows. `activation_gib`: of a
    CPU engine, in RAM; `cards`: how many one engine spans; `adapters_gib`: of LoRA adapters beside them.
    """
    number, cpus = inputs.catalog.number, inputs.settings.machine.cpus
    cuda = isinstance(inputs.settings.machine, NvidiaMachine)
    shared = number("podMemory.sharedMemoryGiB")
    parts = (
        _gpu_parts(inputs, multimodal=multimodal, cards=cards, adapters_gib=adapters_gib)
        if cuda
        else _cpu_parts(model, activation_gib, inputs)
    )
    need = ceil((sum(parts.values()) * (1.0 if cuda else number("cpuEngine.headroom")) + shared) * 2) / 2  # in half GiB
    source = " + ".join(f"{size:.2f} {name}" for name, size in {**parts, _SHM: shared}.items()) + ", in half GiB"
    limit = need
    if spec.pin.memory_limit_gib is not None:
        limit = float(spec.pin.memory_limit_gib)
        notes.decide("memoryLimit", gib(limit), "stated", "stack file", "pin.memoryLimitGiB")
        if limit < need:
            notes.refuse(
                f"{spec.name}: pin.memoryLimitGiB is {limit:g}, and loading takes {gib(need)} ({source}); Kubernetes "
                f"would kill it: OOMKilled"
            )
    else:
        notes.decide("memoryLimit", gib(limit), "derived", "catalogue: podMemory, cpuEngine", source)
    share = number("podMemory.requestShare" if cuda else "cpuEngine.requestShare")
    request = limit * share
    notes.decide(
        "memoryRequest",
        gib(request),
        "derived",
        "catalogue",
        f"{share:g} of the limit: memory peaks while loading",
    )
    cpu_request = min(cpus - 1, int(number("podCpu.gpuRequest"))) if cuda else int(number("podCpu.cpuRequest"))
    cpu_limit = min(cpus, int(number("podCpu.gpuLimit"))) if cuda else cpus
    why = (
        "one for each serving process; loading may use more"
        if cuda
        else "the processors are the engine: it may use all of them"
    )
    notes.decide("cpu", f"{max(1, cpu_request)} to {cpu_limit}", "derived", "catalogue: podCpu", why)
    scratch = int(number("podScratch.gpuMiB" if cuda else "podScratch.cpuMiB"))
    notes.decide(
        "scratch", f"{scratch} MiB", "default", "catalogue: podScratch", "an emptyDir at /tmp, the only writable place"
    )
    notes.decide(
        "sharedMemory",
        gib(shared),
        "default",
        inputs.catalog.fact("podMemory.sharedMemoryGiB").source,
        f"{_SHM}, inside the limit",
    )
    return ResourcesPlan(
        cpu_request=str(max(1, cpu_request)),
        cpu_limit=str(cpu_limit),
        memory_request_mib=int(request * _MIB),
        memory_limit_mib=int(limit * _MIB),
        shared_memory_mib=int(shared * _MIB),
        scratch_mib=scratch,
        gpus=cards if cuda else 0,
    )


def _gpu_parts(inputs: Inputs, *, multimodal: bool, cards: int, adapters_gib: float) -> dict[str, float]:
    number = inputs.catalog.number
    parts = {
        "engine processes": number("podMemory.baseGiB"),
        "GPU rank" if cards == 1 else f"{cards} GPU ranks": cards * number("podMemory.perRankGiB"),
    }
    if multimodal:
        parts["image caches"] = number("podMemory.multimodalCacheGiB")
    if adapters_gib:
        parts["LoRA adapters"] = adapters_gib
    return parts


def _cpu_parts(model: Model, activation_gib: float, inputs: Inputs) -> dict[str, float]:
    number = inputs.catalog.number
    return {
        "engine processes": number("cpuEngine.processesGiB"),
        "weights": model.weights_gib.value,
        "KV cache": number("cpuEngine.kvCacheGiB"),
        "activations": activation_gib,
    }
