"""What changed in which vLLM version, as data: see Behaviour. Read in the wheels of 0.10.2 to 0.32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from stacks.catalog.versions import Release, parse
from stacks.errors import LabError

OLDEST = "0.10.2"
"""The first version with --kv-cache-memory-bytes. Older ones are refused."""

Accounting = Literal["growth", "consumed"]
"""How the budget is charged.

growth: weights + torch's peak + what else grew since a snapshot taken after the CUDA context was made (to 0.27).
consumed: what the process took of the device's free memory since the snapshot, and what torch's peak had more (since
0.28).
"""


class OldVersionError(LabError):
    """A vLLM version older than the predictor knows."""

    exit_code = 2


@dataclass(frozen=True)
class Behaviour:
    """What one version does. Each field names the file where it was read."""

    version: Release
    accounting: Accounting
    """v1/worker/gpu_worker.py determine_available_memory."""
    graphs_in_budget: bool
    """VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS defaults to 1, envs.py: since 0.20."""
    utilization: float
    """Default of --gpu-memory-utilization, config/cache.py: 0.92 since 0.20."""
    padding_ratio: float
    """Types whose layer counts differ by less than this factor share one group size: 1.5 (1.25 in 0.11 and 0.12)."""
    grouped_need: bool
    """The start check counts blocks of groups, not bytes of layers: since 0.14."""
    null_block: bool
    """One block is held back before the start check, kv_cache_planning.py: since 0.30."""
    tokens_by_concurrency: bool
    """The printed tokens are int(concurrency x max_model_len), v1/core/kv_cache_utils.py: since 0.20.1."""
    batches_in_flight: int
    """Batches whose tokens a sliding window must still hold on one stage, config/vllm.py max_in_flight_tokens: 2 with
    async scheduling since 0.26.
    """
    hybrid_alignment: int
    """Granularity in tokens of the block that is raised to hold a recurrent state beside MLA, platforms/interface.py:
    128 since 0.30.
    """
    align_states: bool
    """Prefix caching, with two states a request, is on by default for recurrent layers: since 0.27."""
    states_checked: bool
    """max_num_seqs beyond the blocks of the pool is an error for recurrent layers with full CUDA graphs,
    config/compilation.py: since 0.20 (vllm#38270), a default max_num_seqs included (vllm#49064).
    """
    mla_prefill: bool
    """The profiling run allocates what MLA's prefill projects up, layers/attention/mla_attention.py: since 0.12."""
    moe_workspace: bool
    """Workspaces of fused experts live from layer to layer, v1/worker/workspace.py: since 0.14."""
    flashinfer_sampler: bool
    """VLLM_USE_FLASHINFER_SAMPLER defaults to 1, envs.py: since 0.22."""
    triton_sampler: bool
    """Top-k and top-p without FlashInfer by a Triton kernel, v1/sample/ops/topk_topp_sampler.py: since 0.17."""


@cache
def behaviour(version: str) -> Behaviour:
    """The behaviour of a version. Raises OldVersionError below OLDEST, ValueError for what is no version."""
    v = parse(version)
    if v < parse(OLDEST):
        raise OldVersionError(
            f"vLLM {version} is older than {OLDEST}, which the predictor knows", remedy=f"use vLLM {OLDEST} or newer"
        )
    return Behaviour(
        version=v,
        accounting="consumed" if v >= (0, 28, 0) else "growth",
        graphs_in_budget=v >= (0, 20, 0),
        utilization=0.92 if v >= (0, 20, 0) else 0.9,
        padding_ratio=1.5 if v >= (0, 13, 0) else 1.25 if v >= (0, 11, 0) else 1.0,
        grouped_need=v >= (0, 14, 0),
        null_block=v >= (0, 30, 0),
        tokens_by_concurrency=v >= (0, 20, 1),
        batches_in_flight=2 if v >= (0, 26, 0) else 1,
        hybrid_alignment=128 if v >= (0, 30, 0) else 16,
        align_states=v >= (0, 27, 0),
        states_checked=v >= (0, 20, 0),
        mla_prefill=v >= (0, 12, 0),
        moe_workspace=v >= (0, 14, 0),
        flashinfer_sampler=v >= (0, 22, 0),
        triton_sampler=v >= (0, 17, 0),
    )


@dataclass(frozen=True)
class Defaults:
    """What vLLM's API server chooses where a flag is not given, engine/arg_utils.py: `seqs` requests, `batched` tokens
    a step.
    """

    seqs: int
    batched: int


def defaults(rules: Behaviour, *, total_gib: float | None, gpu_name: str | None) -> Defaults:
    """Cards of 70 GiB and more, but for the A100 and unified memory, get larger steps; since 0.28 those of 160 GiB
    larger ones still.
    """
    name = (gpu_name or "").lower()
    if total_gib is None or total_gib < 70 or "a100" in name or unified(gpu_name):
        return Defaults(256, 2048)
    return Defaults(1024, 16384 if total_gib >= 160 and rules.version >= (0, 28, 0) else 8192)


def unified(gpu_name: str | None) -> bool:
    """Whether the card shares its memory with the processors (DGX Spark, Jetson)."""
    return any(word in (gpu_name or "").lower() for word in ("gb10", "spark", "thor", "orin"))
