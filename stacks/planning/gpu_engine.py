"""One model on an NVIDIA card, before anybody knows how much of the card it gets: what is legal, and what it needs at
least.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from stacks.catalog import Gpu, Image, Model
from stacks.planning import legality
from stacks.planning.cards import Need
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.fit import Architecture, EngineRun, Prediction, Verdict, kv_needed_gib, predict
from stacks.planning.fit.graphs import context_gib
from stacks.settings import NvidiaMachine, VllmModel

_LEAST_UTILIZATION = 0.01
_SHORTEST = 16  # tokens
_STEP_GIB, _MOST_STEPS = 1 / 64, 64


@dataclass(frozen=True)
class Rung:
    """A way to take less memory: CUDA graphs or none, and how many tokens one step may have."""

    eager: bool
    batched: int


@dataclass(frozen=True)
class GpuDraft:
    """One engine's start, but for the size of its KV cache. `run.free_gib` is what vLLM finds on a card without other
    engines: the desktop's share is taken off, and so is `context`, the engine's own CUDA context, which it makes before
    it looks.
    """

    wish: VllmModel
    model: Model
    gpu: Gpu
    total: float
    desktop: float
    context: float
    run: EngineRun

    @property
    def pinned(self) -> float | None:
        """--gpu-memory-utilization that the owner insists on, or that an engine without --kv-cache-memory-bytes needs."""
        return self.wish.pin.gpu_memory_utilization

    @cached_property
    def kv_least(self) -> float:
        """GiB of KV cache for one request of max_model_len tokens."""
        return kv_needed_gib(self.run, max_model_len=self.run.max_model_len or 1)

    @cached_property
    def least(self) -> Prediction:
        """The engine with the least KV cache that it starts with, or with its pinned share."""
        return (
            self.with_kv(self.kv_least)
            if self.pinned is None
            else predict(replace(self.run, gpu_memory_utilization=self.pinned))
        )

    def with_kv(self, kv: float, *, utilization: float = _LEAST_UTILIZATION, free: float | None = None) -> Prediction:
        """The engine with exactly `kv` GiB of KV cache, where it finds `free` GiB (default: a card without other
        engines).
        """
        run = replace(self.run, kv_cache_memory_gib=kv, gpu_memory_utilization=utilization)
        return predict(run if free is None else replace(run, free_gib=free))

    @cached_property
    def band(self) -> float:
        """Half width of the predictor's error band, GiB. A given KV cache has none of its own; what lies beside it has."""
        return predict(replace(self.run, kv_cache_memory_gib=None)).band_gib

    @cached_property
    def fixed(self) -> float:
        """GiB that the engine holds beside its KV cache, its CUDA context and the error band included.

        As much as the predictor wants free beside a given cache before it says FITS: that is asked with a cache that
        fills the card, and with the shortest context, so that only the card can be too small.
        """
        fixed = (self.least.in_use_gib or 0.0) - (self.least.kv_gib or 0.0) + self.band
        if self.pinned is not None:
            return fixed
        short = replace(self, run=replace(self.run, max_model_len=_SHORTEST))
        room = (self.run.free_gib or 0.0) + self.context - fixed
        if room <= 0 or short.with_kv(room).verdict is Verdict.FITS:
            return fixed
        low, high = 1, _MOST_STEPS
        while low < high:
            middle = (low + high) // 2
            if short.with_kv(room - middle * _STEP_GIB).verdict is Verdict.FITS:
                high = middle
            else:
                low = middle + 1
        return fixed + low * _STEP_GIB

    def need(self, replica: int) -> Need:
        """What one replica asks of a card."""
        exact = self.least.kv_gib if self.pinned is not None else None
        useful = self.kv_least
        if self.run.max_num_seqs:
            useful = kv_needed_gib(self.run, max_model_len=self.run.max_model_len or 1, requests=self.run.max_num_seqs)
        return Need(
            self.wish.name, replica, self.fixed, self.kv_least, max(useful, self.kv_least), self.wish.priority, exact
        )

    def at(self, rung: Rung) -> GpuDraft:
        """The same engine on another rung; what the owner pinned stays."""
        eager = rung.eager if self.wish.pin.enforce_eager is None else self.wish.pin.enforce_eager
        batched = max(rung.batched, self.run.max_num_seqs or 1)
        return replace(self, run=replace(self.run, enforce_eager=eager, max_num_batched_tokens=batched))

    def telling(
        self, *, context: int | None = None, requests: int | None = None, batched: int | None = None
    ) -> GpuDraft:
        """The same engine told something else."""
        length, seqs = context or self.run.max_model_len, requests or self.run.max_num_seqs or 1
        tokens = max(batched or self.run.max_num_batched_tokens or 1, seqs)
        return replace(
            self, run=replace(self.run, max_model_len=length, max_num_seqs=seqs, max_num_batched_tokens=tokens)
        )


def draft_gpu(
    wish: VllmModel,
    model: Model,
    architecture: Architecture,
    machine: NvidiaMachine,
    image: Image,
    inputs: Inputs,
    notes: Notes,
) -> GpuDraft:
    """The engine as wished, on the machine's card; refuses what is not legal there, and decides dtype, KV dtype and
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
    _check(wish, model, gpu, dtype, version, notes)
    _check_image(wish, gpu, machine, image, notes)
    backend = legality.attention_backend(gpu.capability, version)
    if backend:
        notes.decide(
            "attention",
            backend.backend,
            "derived",
            backend.source,
            f"what vLLM {version} picks at {gpu.compute_capability.value}",
        )
    stated = wish.kv_cache_dtype != "auto"
    why = (
        "halves the KV cache; costs a little accuracy"
        if stated
        else "the model's own; fp8 is never chosen without being asked for"
    )
    notes.decide(
        "kvCacheDtype", wish.kv_cache_dtype, "stated" if stated else "default", "stack file" if stated else "vLLM", why
    )
    total = _total_gib(wish, gpu, machine, notes)
    shown = machine.display or machine.platform == "wsl2"
    desktop = number(f"platforms.{machine.platform}.{'desktopGiB' if shown else 'headlessGiB'}")
    if gpu.unified_memory:
        desktop += _system_gib(inputs, notes)
    context = context_gib(gpu.capability)
    run = EngineRun(
        architecture=architecture,
        version=version,
        total_gib=total,
        free_gib=total - desktop - context,
        capability=gpu.capability,
        gpu_name=gpu.name,
        wsl2=machine.platform == "wsl2",
        max_model_len=wish.context_tokens,
        max_num_seqs=wish.concurrent_requests,
        max_num_batched_tokens=max(int(number("gpuEngine.maxNumBatchedTokens")), wish.concurrent_requests),
        enforce_eager=bool(wish.pin.enforce_eager),
        dtype=_dtype(dtype),
        kv_cache_dtype=wish.kv_cache_dtype,
        quantization=model.quantization,
        checkpoint_gib=model.weights_gib.value,
        multimodal=architecture.vision is not None,
    )
    return GpuDraft(wish, model, gpu, total, desktop, context, run)


def _system_gib(inputs: Inputs, notes: Notes) -> float:
    """GiB that the system, the cluster and the engines' own processes take of a memory that the processors share with
    the GPU.
    """
    number = inputs.catalog.number
    engine = number("podMemory.baseGiB") + number("podMemory.perRankGiB") + number("podMemory.sharedMemoryGiB")
    engines = sum(m.replicas for m in inputs.settings.models)
    driver = inputs.settings.cluster.driver
    size = (
        number(f"{driver}.systemGiB") + (number("minikube.hostGiB") if driver == "minikube" else 0.0) + engines * engine
    )
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


def _check(wish: VllmModel, model: Model, gpu: Gpu, dtype: str, version: str, notes: Notes) -> None:
    """Everything of legality.py that concerns one engine."""
    for illegal in (
        legality.check_attention(gpu.capability, version),
        legality.check_quantization(model.quantization, gpu.capability, version),
        legality.check_dtype(dtype, gpu.capability, gpu.name),
        legality.check_kv_dtype(wish.kv_cache_dtype, gpu.capability, version, quantization=model.quantization),
        legality.check_remote_code(model.repository, needed="auto_map" in model.config, trusted=wish.trust_remote_code),
    ):
        if illegal:
            notes.refuse(f"{wish.name}: {illegal}")
    if wish.trust_remote_code:
        if not (wish.revision or model.revision):
            notes.refuse(
                f"{wish.name}: trustRemoteCode runs whatever {model.repository} holds that day; pin it with `revision:`"
            )
        notes.decide(
            "trustRemoteCode", "true", "degraded", "stack file", "code of the model's repository runs in the engine"
        )


def _total_gib(wish: VllmModel, gpu: Gpu, machine: NvidiaMachine, notes: Notes) -> float:
    fact = gpu.memory.get(machine.platform)
    if fact is None:
        only = next(iter(gpu.memory))
        notes.refuse(
            f"{wish.name}: the catalogue has no memory figure for {gpu.name} under {machine.platform}; as far as known it runs on {only} only"
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


def _check_image(wish: VllmModel, gpu: Gpu, machine: NvidiaMachine, image: Image, notes: Notes) -> None:
    least = image.minimum_compute_capability
    if least and gpu.capability < legality.capability(least.value):
        notes.refuse(
            f"{wish.name}: {image.reference} needs compute capability {least.value}, and {gpu.name} has {gpu.compute_capability.value}; "
            "it would end with: CUDA error: no kernel image is available for execution on the device"
        )
    driver = image.minimum_driver
    if driver is None:
        return
    if machine.nvidia_driver is None:
        unstated = "the stack file states no machine.nvidiaDriver; `nvidia-smi` prints it"
        notes.decide("nvidiaDriver", f">= {driver.value}", "default", driver.source, unstated)
    elif int(machine.nvidia_driver.split(".")[0]) < driver.value:
        notes.refuse(
            f"{wish.name}: {image.reference} needs driver {driver.value} or newer, and machine.nvidiaDriver is {machine.nvidia_driver}; "
            "it would end with: The NVIDIA driver on your system is too old. Upgrade the driver"
        )
    else:
        notes.decide(
            "nvidiaDriver", machine.nvidia_driver, "stated", "stack file", f"the image needs {driver.value} or newer"
        )
