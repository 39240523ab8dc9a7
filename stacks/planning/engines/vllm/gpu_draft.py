"""One engine on a card, but for the size of its KV cache: what it needs at least, its fallbacks, and how it settles."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import ceil, floor, hypot

from stacks.catalog import Gpu, Model
from stacks.plan import VllmPlan
from stacks.plan.vllm import SpeculativePlan
from stacks.planning.draft import Inputs, Notes
from stacks.planning.engines.engine import Settled
from stacks.planning.engines.vllm import legality, lora, memory_plan, tasks
from stacks.planning.engines.vllm.memory import (
    GIB,
    EngineRun,
    Prediction,
    Verdict,
    kv_needed_gib,
    predict,
)
from stacks.planning.engines.vllm.memory.parts import free_band_gib
from stacks.planning.engines.vllm.objectives import settle
from stacks.planning.gpus.cards import Need
from stacks.planning.gpus.placement import SLACK_GIB
from stacks.planning.gpus.roofline import Reads
from stacks.settings import VllmModel

_LEAST_UTILIZATION = 0.01
_SHORTEST = 16  # tokens
_MIB = 2**20
_KV_STEP_GIB, _KV_TRIES = 0.125, 16
_STEP_GIB, _MOST_STEPS = 1 / 64, 64


@dataclass(frozen=True)
class Fallback:
    """A way to take less memory: CUDA graphs or none, and how many tokens one step may have."""

    eager: bool
    batched: int


@dataclass(frozen=True)
class GpuDraft:
    """One engine's start, but for the size of its KV cache. `run.free_gib` is what vLLM finds on a card without other
    engines: the desktop's share is taken off, and so is `context`, the engine's own CUDA context, which it makes before
    it looks. `spans` are the numbers of cards that it may span, the smallest first.
    """

    spec: VllmModel
    model: Model
    gpu: Gpu
    total: float
    desktop: float
    context: float
    run: EngineRun
    spans: tuple[int, ...] = (1,)
    speculative: SpeculativePlan | None = None

    @property
    def pinned(self) -> float | None:
        """--gpu-memory-utilization that the owner insists on, or that an engine without --kv-cache-memory-bytes
        needs.
        """
        return self.spec.pin.gpu_memory_utilization

    @property
    def caches(self) -> bool:
        """Whether the network keeps anything from step to step."""
        return bool(self.run.architecture.caches)

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
        """Half width of the predictor's error band, GiB. A given KV cache has none of its own; what lies beside it has,
        and what is free on the card where that is assumed.
        """
        return hypot(predict(replace(self.run, kv_cache_memory_gib=None)).band_gib, free_band_gib(self.run))

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

    @cached_property
    def kv_start(self) -> float:
        """GiB of KV cache with which it starts where nothing else is free: more than `kv_least` where the profiling
        run, which is before there is a cache, needs more than the engine holds afterwards.
        """
        least, at = ceil(self.kv_least * 1024) / 1024, self.kv_least
        if self.pinned is not None:
            return at
        for _ in range(_MOST_STEPS):
            if self.with_kv(least, free=self.fixed + at - self.context).verdict is Verdict.FITS:
                break
            at += _STEP_GIB
        return at

    def need(self, replica: int) -> Need:
        """What one replica asks of a card."""
        exact = self.least.kv_gib if self.pinned is not None else None if self.caches else 0.0
        useful = self.kv_least
        if self.run.max_num_seqs:
            useful = kv_needed_gib(self.run, max_model_len=self.run.max_model_len or 1, requests=self.run.max_num_seqs)
        return Need(
            self.spec.name,
            replica,
            self.fixed,
            self.kv_start,
            max(useful, self.kv_start),
            self.spec.priority,
            exact,
            self.run.tensor_parallel,
        )

    def fallbacks(self) -> list[GpuDraft]:
        """From the fastest to the leanest: CUDA graphs go before the step gets very small, since each saves more than
        the other costs. An engine with a pinned share keeps what it has.
        """
        batched = self.run.max_num_batched_tokens or 1
        ways: tuple[Fallback, ...] = (
            Fallback(False, batched),
            Fallback(False, batched // 2),
            Fallback(True, batched),
            Fallback(True, batched // 2),
            Fallback(True, batched // 4),
        )
        ways = ways[:1] if self.pinned is not None else ways
        return [self._spanning(cards).at(way) for cards in self.spans for way in ways]

    def _spanning(self, cards: int) -> GpuDraft:
        return replace(self, run=replace(self.run, tensor_parallel=cards))

    def starts(self, free: float) -> bool:
        """Whether it starts on a card of which `free` GiB are free."""
        if self.pinned is not None:
            return self.least.verdict is Verdict.FITS
        return self.fixed + self.kv_start <= free - SLACK_GIB

    def reads(self) -> Reads:
        """Of a mixture of experts one token needs the chosen experts only."""
        network = self.run.architecture
        active, experts = 1.0, network.experts
        if experts and network.linear_weights:
            routed = 3 * network.hidden * experts.intermediate * experts.count * experts.layers
            active = 1.0 - min(1.0, routed / network.linear_weights) * (1.0 - experts.per_token / experts.count)
        return Reads(self.least.weights_gib, self.kv_least * GIB, active)

    def sharing_problem(self) -> str | None:
        """Versions that measure their neighbours' memory as their own cannot share."""
        illegal = legality.check_sharing(self.run.version)
        return str(illegal) if illegal else None

    def refuse(self, notes: Notes) -> None:
        """Why the engine does not start on a card of its own."""
        share = max(0.01, floor((self.run.free_gib or 0.0) / self.total * 100) / 100)
        alone = self.least if self.pinned is not None else predict(replace(self.run, gpu_memory_utilization=share))
        memory_plan.refuse(self, alone, notes)

    def unplaced(self) -> Settled:
        """An engine that was refused, as far as the other budgets need it."""
        return Settled(self, self.told(self.pinned, None), memory_plan.memory_plan(self, self.least, neighbours=0.0))

    def settle(self, size: float, *, before: float, neighbours: float, inputs: Inputs, notes: Notes) -> Settled:
        """Serves the objective inside `size` GiB, and fills the rest with KV cache."""
        fixed = self.pinned is not None or not self.caches
        draft = self if fixed else settle(self, size, inputs.settings.objective, notes)
        most = inputs.catalog.number("gpuEngine.largestUtilization")
        kv_bytes, utilization, prediction = _kv(draft, size, before, most)
        if prediction.verdict is not Verdict.FITS:
            memory_plan.refuse(draft, prediction, notes)
        memory = memory_plan.memory_plan(draft, prediction, neighbours=neighbours)
        if not self.caches:  # every text is read in one step: as many as are admitted
            memory = memory.model_copy(update={"concurrency": float(draft.run.max_num_seqs or 1)})
        return Settled(draft, draft.told(utilization, kv_bytes), memory)

    def told(self, utilization: float | None, kv_bytes: int | None) -> VllmPlan:
        """What the engine is told."""
        return VllmPlan(
            dtype=self.run.dtype or "float16",
            max_model_len=self.run.max_model_len or 0,
            max_num_seqs=self.run.max_num_seqs or 0,
            max_num_batched_tokens=self.run.max_num_batched_tokens or 0,
            gpu_memory_utilization=utilization,
            enforce_eager=self.run.enforce_eager,
            kv_cache_memory_bytes=kv_bytes,
            kv_cache_dtype=self.spec.kv_cache_dtype,
            trust_remote_code=self.spec.trust_remote_code,
            tensor_parallel_size=self.run.tensor_parallel,
            max_loras=self.run.max_loras,
            max_lora_rank=self.run.max_lora_rank,
            lora_modules=lora.modules(self.spec),
            images=self.spec.images_per_request,
            speculative=self.speculative,
            **asdict(tasks.options(self.model)),
        )

    def at(self, fallback: Fallback) -> GpuDraft:
        """The same engine on another fallback; what the owner pinned stays."""
        eager = fallback.eager if self.spec.pin.enforce_eager is None else self.spec.pin.enforce_eager
        batched = max(fallback.batched, self.run.max_num_seqs or 1, self._least_step(self.run.max_model_len or 1))
        return replace(self, run=replace(self.run, enforce_eager=eager, max_num_batched_tokens=batched))

    def _least_step(self, context: int) -> int:
        return tasks.least_step(self.run.architecture, context)

    def with_limits(
        self, *, context: int | None = None, requests: int | None = None, batched: int | None = None
    ) -> GpuDraft:
        """The same engine told something else."""
        length, seqs = context or self.run.max_model_len, requests or self.run.max_num_seqs or 1
        tokens = max(batched or self.run.max_num_batched_tokens or 1, seqs, self._least_step(length or 1))
        return replace(
            self, run=replace(self.run, max_model_len=length, max_num_seqs=seqs, max_num_batched_tokens=tokens)
        )


def _kv(draft: GpuDraft, size: float, before: float, most: float) -> tuple[int | None, float, Prediction]:
    """The KV cache that fills `size` GiB, in whole MiB, and the utilization with which vLLM's start check holds beside
    `before` GiB.
    """
    free = (draft.run.free_gib or 0.0) - before
    if draft.pinned is not None:
        return None, draft.pinned, predict(replace(draft.run, gpu_memory_utilization=draft.pinned, free_gib=free))
    if not draft.caches:
        utilization = min(
            most, ceil(((draft.least.in_use_gib or 0.0) - draft.least.outside_gib) / draft.total * 100) / 100
        )
        return None, utilization, draft.with_kv(0.0, utilization=utilization, free=free)
    held = min(most, (size - draft.least.outside_gib - draft.band) / draft.total, free / draft.total)
    utilization = max(0.01, floor(held * 100) / 100)
    if not legality.has_kv_bytes(draft.run.version):
        return None, utilization, predict(replace(draft.run, gpu_memory_utilization=utilization, free_gib=free))
    kv, prediction = max(size - draft.fixed, draft.kv_least), draft.least
    for _ in range(_KV_TRIES):
        whole = ceil(kv * 1024) if kv == draft.kv_least else floor(kv * 1024)
        prediction = draft.with_kv(whole / 1024, utilization=utilization, free=free)
        if prediction.verdict is Verdict.FITS or kv == draft.kv_least:
            break
        kv = max(kv - _KV_STEP_GIB, draft.kv_least)
    return round((prediction.kv_gib or 0.0) * 1024) * _MIB, utilization, prediction
