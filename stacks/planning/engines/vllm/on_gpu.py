"""One model on an NVIDIA card: what is legal there, and the start that follows from the stack file and the card."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from stacks.catalog import Gpu, Image, Model
from stacks.plan.vllm import SpeculativePlan
from stacks.planning.clusters import DRIVERS
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.engines.vllm import legality, tasks
from stacks.planning.engines.vllm.gpu_draft import GpuDraft
from stacks.planning.engines.vllm.measured_start import applied, beside_weights, of_machine
from stacks.planning.engines.vllm.memory import Architecture, EngineRun, Speculation
from stacks.planning.engines.vllm.memory.graphs import context_gib
from stacks.planning.engines.vllm.memory.parts import free_at_start_gib
from stacks.planning.engines.vllm.memory.speculative import mtp_head
from stacks.planning.engines.vllm.networks import network
from stacks.settings import NvidiaMachine, VllmModel


def draft_gpu(
    spec: VllmModel,
    model: Model,
    architecture: Architecture,
    machine: NvidiaMachine,
    image: Image,
    inputs: Inputs,
    notes: Notes,
) -> GpuDraft:
    """The engine as asked for, on the machine's card; refuses what is not legal there, and decides dtype, KV dtype and
    driver.
    """
    number, gpu = inputs.catalog.number, inputs.catalog.gpu(machine.gpu)
    version = image.engine_version or ""
    dtype, source, reason = legality.dtype_for(
        checkpoint=model.checkpoint_dtype,
        quantization=model.quantization,
        float16_works=model.float16,
        card=gpu.capability,
    )
    notes.decide("dtype", dtype, "derived", source, reason)
    _check(spec, model, gpu, dtype, version, notes)
    _check_image(spec, gpu, machine, image, notes)
    backend = legality.attention_backend(gpu.capability, version)
    if backend:
        notes.decide(
            "attention",
            backend.backend,
            "derived",
            backend.source,
            f"what vLLM {version} picks at {gpu.compute_capability.value}",
        )
    stated = spec.kv_cache_dtype != "auto"
    why = (
        "halves the KV cache; costs a little accuracy"
        if stated
        else "the model's own; fp8 is never chosen without being asked for"
    )
    notes.decide(
        "kvCacheDtype", spec.kv_cache_dtype, "stated" if stated else "default", "stack file" if stated else "vLLM", why
    )
    total = _total_gib(spec, gpu, machine, notes)
    context = context_gib(gpu.capability)
    shown = "desktopGiB" if machine.display else "headlessGiB"
    desktop = number(f"platforms.linux.{shown}") if machine.platform == "linux" else 0.0
    if gpu.unified_memory:
        desktop += _system_gib(inputs, notes)
    if machine.held_memory_gib is not None:
        reason = "other programs hold it; the desktop and the driver are part of it"
        notes.decide("heldMemory", gib(machine.held_memory_gib), "stated", "stack file", reason)
        desktop = max(desktop, machine.held_memory_gib)
    run = EngineRun(
        architecture=architecture,
        version=version,
        total_gib=total,
        free_gib=total - desktop - context,
        capability=gpu.capability,
        gpu_name=gpu.name,
        wsl2=machine.platform == "wsl2",
        max_model_len=spec.context_tokens,
        max_num_seqs=spec.concurrent_requests,
        max_num_batched_tokens=max(
            spec.max_num_batched_tokens or int(number("gpuEngine.maxNumBatchedTokens")),
            spec.concurrent_requests,
            tasks.least_step(architecture, spec.context_tokens),
        ),
        enforce_eager=bool(spec.pin.enforce_eager),
        dtype=_dtype(dtype),
        kv_cache_dtype=spec.kv_cache_dtype,
        quantization=model.quantization,
        checkpoint_gib=None if model.weights_gib.estimated else model.weights_gib.value,
        multimodal=architecture.audio is not None or (architecture.vision is not None and spec.images_per_request != 0),
        pooling=model.task in tasks.POOLING,
        max_loras=spec.lora.adapters if spec.lora else 0,
        max_lora_rank=spec.lora.rank if spec.lora else 16,
        speculation=_speculation(spec, model, architecture, inputs),
        assumed=frozenset({"free_gib"}),
    )
    taken = total - (free_at_start_gib(replace(run, free_gib=None)) or 0.0) - context
    if machine.platform == "wsl2" or gpu.unified_memory:  # what real start lines of such machines show, all of it
        desktop = max(desktop, taken)
        run = replace(run, free_gib=total - desktop - context)
    told = None
    if spec.speculative:
        folder = inputs.folder(spec.speculative.model) if spec.speculative.model else None
        told = SpeculativePlan(
            method=spec.speculative.method, num_speculative_tokens=spec.speculative.tokens, folder=folder
        )
    beside = beside_weights(
        max_loras=run.max_loras, max_lora_rank=run.max_lora_rank, speculative=told, images=spec.images_per_request
    )
    run = _with_measured(spec, machine, run, inputs, notes, beside)
    desktop = total - context - (run.free_gib or 0.0)  # what was measured counts the desktop and everything else
    _decide_options(spec, architecture, notes)
    spans = (1,) if gpu.slice_of else _spans(spec, architecture, machine, notes)
    return GpuDraft(spec, model, gpu, total, desktop, context, run, spans, told)


def _with_measured(
    spec: VllmModel, machine: NvidiaMachine, run: EngineRun, inputs: Inputs, notes: Notes, beside: str
) -> EngineRun:
    """The run with what earlier starts on this card printed in the place of what is assumed."""
    starts = of_machine(inputs.measured, run, device=machine.gpu, platform=machine.platform)
    known = applied(starts, run, catalogue_name=spec.model, name=spec.name, beside=beside)
    source = f"measured/{inputs.stack}.yaml"
    if known.free_gib is not None and known.free_gib != run.free_gib:
        reason = f"{gib(run.free_gib or 0.0)} were assumed beside the desktop, the driver and the engine's own context"
        notes.decide("freeMemory", gib(known.free_gib), "measured", source, reason)
    if known.measured is not None:
        if known.measured.weights_gib is not None:
            reason = "what an earlier start of this model printed"
            notes.decide("weights", gib(known.measured.weights_gib), "measured", source, reason)
        if known.measured.offset_gib is not None:
            reason = "KV cache that an earlier start found beside what is computed"
            notes.decide("offset", gib(known.measured.offset_gib), "measured", source, reason)
    return known


def _spans(spec: VllmModel, architecture: Architecture, machine: NvidiaMachine, notes: Notes) -> tuple[int, ...]:
    """How many cards one engine may span: what is stated, else one and, where that is not enough, powers of two."""
    if spec.tensor_parallel is None:
        wider = (n for n in (2, 4, 8, 16) if n <= machine.gpus and not legality.check_tensor_parallel(architecture, n))
        return (1, *wider)
    if illegal := legality.check_tensor_parallel(architecture, spec.tensor_parallel):
        notes.refuse(f"{spec.name}: {illegal}")
    if spec.tensor_parallel > machine.gpus:
        notes.refuse(f"{spec.name}: tensorParallel is {spec.tensor_parallel}, and the machine has {machine.gpus} cards")
    return (spec.tensor_parallel,)


def _speculation(spec: VllmModel, model: Model, architecture: Architecture, inputs: Inputs) -> Speculation | None:
    asked = spec.speculative
    if asked is None:
        return None
    if asked.method == "mtp":
        head = mtp_head(architecture)
        return Speculation(tokens=asked.tokens, draft=head, quantization=model.quantization, inside=True)
    if asked.model is None:
        return Speculation(tokens=asked.tokens)
    second = inputs.catalog.model(asked.model)
    return Speculation(
        tokens=asked.tokens,
        draft=network(second),
        quantization=second.quantization,
        weights_gib=second.weights_gib.value,
    )


def _decide_options(spec: VllmModel, architecture: Architecture, notes: Notes) -> None:
    """What the stack file adds to a plain start, and what makes no sense with the model."""
    if spec.images_per_request is not None:
        if architecture.vision is None:
            notes.refuse(f"{spec.name}: imagesPerRequest has no meaning: {spec.model} takes no images; remove it")
        why = "the encoder is not loaded" if spec.images_per_request == 0 else "the encoder is profiled with so many"
        notes.decide("imagesPerRequest", spec.images_per_request, "stated", "stack file", why)
    if spec.lora:
        reason = f"rank {spec.lora.rank} at most; room for them is taken at start"
        notes.decide("maxLoras", spec.lora.adapters, "stated", "stack file", reason)
    if spec.speculative:
        second = f" of {spec.speculative.model}" if spec.speculative.model else ""
        what = f"{spec.speculative.tokens} tokens a step by {spec.speculative.method}{second}"
        notes.decide("speculative", what, "stated", "stack file", "proposed tokens are checked in the same step")


def _system_gib(inputs: Inputs, notes: Notes) -> float:
    """GiB that the system, the cluster and the engines' own processes take of a memory that the processors share with
    the GPU.
    """
    number = inputs.catalog.number
    engine = number("podMemory.baseGiB") + number("podMemory.perRankGiB") + number("podMemory.sharedMemoryGiB")
    engines = sum(m.replicas for m in inputs.settings.models)
    size = DRIVERS[inputs.settings.cluster.driver].system_memory(inputs) + engines * engine
    notes.decide(
        "unifiedMemory",
        gib(size),
        "derived",
        "catalogue: podMemory",
        "processors and GPU share it: the system, the cluster and the pods",
    )
    return size


def _dtype(name: str) -> Literal["bfloat16", "float16", "float32"]:
    return "bfloat16" if name == "bfloat16" else "float32" if name == "float32" else "float16"


def _check(spec: VllmModel, model: Model, gpu: Gpu, dtype: str, version: str, notes: Notes) -> None:
    """Everything of legality.py that concerns one engine."""
    for illegal in (
        legality.check_attention(gpu.capability, version),
        legality.check_quantization(model.quantization, gpu.capability, version),
        legality.check_dtype(dtype, gpu.capability, gpu.name),
        legality.check_kv_dtype(spec.kv_cache_dtype, gpu.capability, version, quantization=model.quantization),
        legality.check_remote_code(model.repository, needed="auto_map" in model.config, trusted=spec.trust_remote_code),
    ):
        if illegal:
            notes.refuse(f"{spec.name}: {illegal}")
    if spec.trust_remote_code:
        if not (spec.revision or model.revision):
            notes.refuse(
                f"{spec.name}: trustRemoteCode runs whatever {model.repository} holds that day; pin it with `revision:`"
            )
        notes.decide(
            "trustRemoteCode", "true", "degraded", "stack file", "code of the model's repository runs in the engine"
        )


def _total_gib(spec: VllmModel, gpu: Gpu, machine: NvidiaMachine, notes: Notes) -> float:
    fact = gpu.memory.get(machine.platform)
    if fact is None:
        only = next(iter(gpu.memory))
        notes.refuse(
            f"{spec.name}: the catalogue has no memory figure for {gpu.name} under {machine.platform}; as far as "
            f"known it runs on {only} only"
        )
        fact = gpu.memory[only]
    notes.decide(
        "cardMemory",
        gib(fact.value),
        "default",
        fact.source,
        f"{gpu.name} under {machine.platform}, as torch reports it",
    )
    return fact.value


def _check_image(spec: VllmModel, gpu: Gpu, machine: NvidiaMachine, image: Image, notes: Notes) -> None:
    least = image.minimum_compute_capability
    if least and gpu.capability < legality.capability(least.value):
        notes.refuse(
            f"{spec.name}: {image.reference} needs compute capability {least.value}, and {gpu.name} has "
            f"{gpu.compute_capability.value}; it would end with: CUDA error: no kernel image is available for "
            "execution on the device"
            + (f". For that card: {last}" if (last := legality.last_image(gpu.capability)) else "")
        )
    driver = image.minimum_driver
    if driver is None:
        return
    if machine.nvidia_driver is None:
        unstated = "the stack file states no machine.nvidiaDriver; `nvidia-smi` prints it"
        notes.decide("nvidiaDriver", f">= {driver.value}", "default", driver.source, unstated)
    elif int(machine.nvidia_driver.split(".")[0]) < driver.value:
        notes.refuse(
            f"{spec.name}: {image.reference} needs driver {driver.value} or newer, and machine.nvidiaDriver is "
            f"{machine.nvidia_driver}; it would end with: The NVIDIA driver on your system is too old. Upgrade the "
            "driver"
        )
    else:
        notes.decide(
            "nvidiaDriver", machine.nvidia_driver, "stated", "stack file", f"the image needs {driver.value} or newer"
        )
