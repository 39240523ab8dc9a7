"""What changed in which vLLM version, as data: see Behaviour. Read in the wheels of 0.6.3 to 0.33 (v1/worker, v1/core, engine/arg_utils)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from stacks.catalog.versions import Release, parse

Accounting = Literal["peak", "device", "growth", "consumed"]
"""How the budget is charged.

peak: what the profiling run took from the free memory, context excluded (V0 up to 0.6.3, and >= 0.6.5 in effect as growth).
device: everything used on the device, other processes and the own CUDA context included (V0 0.6.4; V1 0.7 to 0.9.0).
growth: only what grew since a snapshot taken after the context was made (V0 >= 0.6.5; V1 0.9.1 to 0.27).
consumed: what the process consumed since the snapshot, by the free memory of the device (V1 >= 0.28).
"""


@dataclass(frozen=True)
class Behaviour:
    """What one version of one engine does. Each field names the file where it was read."""

    version: Release
    v1: bool
    accounting: Accounting
    """vllm/worker/worker.py, vllm/utils.py memory_profiling, vllm/v1/worker/gpu_worker.py determine_available_memory."""
    free_check: bool
    """free >= utilization x total at start, v1/worker/gpu_worker.py init_device: since 0.9.1."""
    graphs_in_budget: bool
    """VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS defaults to 1: since 0.20."""
    utilization: float
    """Default of --gpu-memory-utilization, config/cache.py: 0.92 since 0.20."""
    windows_saved: bool
    """Sliding windows beside full attention get groups of their own, v1/core/kv_cache_utils.py: since 0.9.1 (before: all layers full)."""
    window_spec: bool
    """A model whose layers all slide holds only its window, v1/kv_cache_interface.py SlidingWindowSpec: V1 since 0.8."""
    padding_ratio: float
    """Types whose layer counts differ by less than this factor share one group size: 1.5 (1.25 when it came, 0.11)."""
    grouped_need: bool
    """The start check counts blocks of groups, not bytes of layers: since 0.14."""
    null_block: bool
    """One block is held back before the start check, kv_cache_planning.py: since 0.30."""
    tokens_by_concurrency: bool
    """The printed tokens are int(concurrency x max_model_len): since 0.20."""
    batches_in_flight: int
    """Batches whose tokens a sliding window must still hold, config/vllm.py max_in_flight_tokens: 2 with async scheduling since 0.26."""
    mla: bool
    """MLA layers store the latent, not full keys and values: since 0.7.1."""
    kv_memory_flag: bool
    """--kv-cache-memory-bytes exists: since 0.10.2."""
    hybrid_alignment: int
    """Granularity in tokens of the block that is raised to hold a recurrent state beside MLA: 128 since 0.30, platforms/interface.py."""
    align_states: bool
    """Prefix caching, with two states a request, is on by default for recurrent layers."""


def engine_of(version: str, capability: tuple[int, int] | None) -> Literal["V0", "V1"]:
    """The engine that a version starts where nobody asks: V1 since 0.8.0; V0 on cards before Ampere up to 0.9.2."""
    number = parse(version)
    if number < (0, 8, 0):
        return "V0"
    return "V0" if number < (0, 10, 0) and capability is not None and capability < (8, 0) else "V1"


@cache
def behaviour(version: str, engine: Literal["V0", "V1"]) -> Behaviour:
    """The behaviour of one version of one engine."""
    v = parse(version)
    v1 = engine == "V1" and v >= (0, 6, 4)
    accounting: Accounting = "growth"
    if v1 and (v < (0, 9, 1) or v >= (0, 28, 0)):
        accounting = "device" if v < (0, 9, 1) else "consumed"
    elif not v1 and v < (0, 6, 5):
        accounting = "device" if v >= (0, 6, 4) else "peak"
    return Behaviour(
        version=v,
        v1=v1,
        accounting=accounting,
        free_check=v1 and v >= (0, 9, 1),
        graphs_in_budget=v1 and v >= (0, 20, 0),
        utilization=0.92 if v >= (0, 20, 0) else 0.9,
        windows_saved=v1 and v >= (0, 9, 1),
        window_spec=v1 and v >= (0, 8, 0),
        padding_ratio=1.5 if v >= (0, 13, 0) else 1.25 if v >= (0, 11, 0) else 1.0,
        grouped_need=v1 and v >= (0, 14, 0),
        null_block=v1 and v >= (0, 30, 0),
        tokens_by_concurrency=v1 and v >= (0, 20, 0),
        batches_in_flight=2 if v >= (0, 26, 0) else 1,
        mla=v >= (0, 7, 1),
        kv_memory_flag=v1 and v >= (0, 10, 2),
        hybrid_alignment=128 if v >= (0, 30, 0) else 16,
        align_states=v1 and v >= (0, 27, 0),
    )


@dataclass(frozen=True)
class Defaults:
    """What vLLM's API server chooses where a flag is not given (engine/arg_utils.py). `seqs` requests, `batched` tokens a step."""

    seqs: int
    batched: int


def defaults(
    rules: Behaviour, *, total_gib: float | None, gpu_name: str | None, max_model_len: int, multimodal: bool
) -> Defaults:
    """Big cards (70 GiB; since 0.9 not the A100, newest not GB10) get larger steps. V0 without chunked prefill steps over whole prompts."""
    name = (gpu_name or "").lower()
    if not rules.v1:
        chunked = max_model_len > 32768 and not multimodal
        return Defaults(256, 2048 if chunked else max(max_model_len, 2048))
    big = total_gib is not None and total_gib >= 70
    if big and rules.version >= (0, 9, 0) and "a100" in name:
        big = False
    if big and any(word in name for word in ("gb10", "spark", "thor", "orin")):
        big = False
    if total_gib is not None and total_gib >= 160 and rules.version >= (0, 28, 0):
        return Defaults(1024, 16384)
    return Defaults(1024, 8192) if big else Defaults(256, 2048)
