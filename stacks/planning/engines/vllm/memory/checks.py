"""vLLM's start conditions in the order in which it meets them, each with its margin and the sentence that it prints."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from stacks.planning.engines.vllm.memory import activations, graphs, weights
from stacks.planning.engines.vllm.memory.constants import constant
from stacks.planning.engines.vllm.memory.kv_cache import Pool
from stacks.planning.engines.vllm.memory.parts import Parts, free_at_start_gib, free_band_gib
from stacks.planning.engines.vllm.memory.resolved import Resolved, states_checked
from stacks.planning.engines.vllm.memory.run import GIB, Condition, EngineRun

_BYTE = 1 / GIB  # the check for no memory at all fails at exactly nothing


@dataclass(frozen=True)
class Check:
    """One start condition: it holds where `margin` (GiB) is not negative; `band` GiB are its uncertainty."""

    condition: Condition
    margin: float
    band: float
    sentence: str


def checks(
    run: EngineRun,
    resolved: Resolved,
    parts: Parts,
    paged: Pool,
    *,
    budget: float | None,
    kv: float | None,
    band: float,
) -> list[Check]:
    """The conditions that this version checks, or that a card imposes. Those of an unknown card are left out. `band`
    GiB: half width of what lies beside the KV cache, and so of the KV cache where it is not given.
    """
    rules, found = resolved.rules, []
    free, free_band = free_at_start_gib(run), free_band_gib(run)
    if free is not None:
        load = hypot(free_band, weights.unknown_gib(run))
        found.append(Check(Condition.LOAD, free - parts.weights, load, _oom(run)))
        if budget is not None:
            sentence = (
                f"Free memory on device ({free:.2f}/{run.total_gib:.2f} GiB) on startup is less than desired GPU "
                f"memory utilization ({resolved.utilization}, {budget:.2f} GiB). Decrease GPU memory utilization or "
                "reduce GPU memory used by other processes."
            )
            found.append(Check(Condition.FREE_MEMORY, free - budget, free_band, sentence))
        blocks = graphs.profiling_blocks(rules, seqs=resolved.seqs, eager=run.enforce_eager, second=resolved.second)
        profile = free - parts.weights - parts.non_torch - max(parts.activation, blocks * paged.block_bytes / GIB)
        found.append(Check(Condition.PROFILE, profile, hypot(free_band, band), _oom(run)))
    if kv is None:
        return found
    own = 0.0 if run.kv_cache_memory_gib is not None else band
    if paged.groups:
        usable = kv - (paged.block_bytes / GIB if rules.null_block else 0.0)
        found.append(Check(Condition.NO_KV, usable - _BYTE, own, _no_kv()))
        margin = usable - paged.needed_bytes(resolved.max_model_len) / GIB
        # it searches a length: only where it may be shown
        sentence = _too_small(resolved, paged, kv=kv) if margin < own else ""
        found.append(Check(Condition.KV_TOO_SMALL, margin, own, sentence))
        if states_checked(run, rules):
            found.append(_states(run, resolved, paged, kv=kv, band=own))
    if free is not None:
        found.append(_after_kv_check(run, resolved, parts, free=free, kv=kv, band=band))
    return found


def _after_kv_check(run: EngineRun, resolved: Resolved, parts: Parts, *, free: float, kv: float, band: float) -> Check:
    """Where the engine sizes its KV cache itself, what it measured by then is taken off already: only the free memory,
    CUDA graphs and what comes late are in doubt. WSL2 pages device memory out to the host before it fails, so that a
    small lack does not count there and a large one is not certain.
    """
    margin = _after_kv(run, resolved, parts, free=free, kv=kv)
    doubts = [free_band_gib(run), constant("bandFree.realGraphsShare") * parts.real, constant("bandFree.lateGiB")]
    if run.capability is None or run.capability >= (10, 0):
        doubts.append(constant("context.flashinferGiB"))
    if run.kv_cache_memory_gib is not None:
        doubts.append(band)
    width = hypot(*doubts)
    if run.wsl2:
        width = 0.0 if margin >= -width else abs(margin) + _BYTE
        margin = margin if width else max(0.0, margin)
    return Check(Condition.AFTER_KV, margin, width, _oom(run))


def _states(run: EngineRun, resolved: Resolved, paged: Pool, *, kv: float, band: float) -> Check:
    """A max_num_seqs that is only guessed cannot refuse."""
    blocks = paged.blocks(max(0.0, kv) * GIB)
    short = (blocks - resolved.seqs) * paged.block_bytes / GIB
    if "max_num_seqs" in run.assumed:
        short = max(0.0, short)
    sentence = f"max_num_seqs ({resolved.seqs}) exceeds available Mamba cache blocks ({blocks})."
    return Check(Condition.STATES, short, band, sentence)


def _after_kv(run: EngineRun, resolved: Resolved, parts: Parts, *, free: float, kv: float) -> float:
    """GiB left once the KV cache is reserved, graphs are captured, and the sampler warms up or a step runs.

    FlashInfer's workspace, where its attention serves Turing, is made there too.
    """
    step = max(parts.step, activations.warmup_gib(run, resolved))
    if run.capability is not None and run.capability < (8, 0) and resolved.rules.version < (0, 24, 0):
        step += constant("context.flashinferGiB")
    peak = activations.serving_peak_gib(run, resolved) + activations.mla_workspace_gib(run, resolved)
    return (
        free
        + min(0.0, run.offset_gib or 0.0)
        - parts.weights
        - parts.non_torch
        - max(0.0, kv)
        - parts.real
        - step
        - peak
    )


def _oom(run: EngineRun) -> str:
    total = f" GPU 0 has a total capacity of {run.total_gib:.2f} GiB" if run.total_gib is not None else ""
    return f"torch.OutOfMemoryError: CUDA out of memory.{total}"


def _no_kv() -> str:
    return (
        "No available memory for the cache blocks. "
        "Try increasing `gpu_memory_utilization` when initializing the engine."
    )


def _too_small(resolved: Resolved, paged: Pool, *, kv: float) -> str:
    length, usable = resolved.max_model_len, max(0.0, kv) * GIB
    return (
        f"To serve at least one request with the model's max seq len ({length}), "
        f"({paged.needed_bytes(length) / GIB:.2f} GiB KV cache is needed, which is larger than the available KV cache "
        f"memory ({kv:.2f} GiB). Based on the available memory, the estimated maximum model length is "
        f"{paged.largest_len(usable)}."
    )
