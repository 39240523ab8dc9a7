"""vLLM's start conditions in the order in which it meets them, each with its margin and the sentence it dies with."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, sqrt

from stacks.planning.fit import activations, graphs
from stacks.planning.fit.constants import constant
from stacks.planning.fit.kv_cache import Pool
from stacks.planning.fit.parts import Parts, free_at_start_gib
from stacks.planning.fit.resolved import Resolved, states_checked
from stacks.planning.fit.run import GIB, Condition, EngineRun

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
    """The conditions that this version checks, or that a card imposes. Those of an unknown card are left out."""
    rules, found = resolved.rules, []
    free = free_at_start_gib(run)
    sure = run.free_gib is not None
    if free is not None:
        load = free - parts.weights
        found.append(Check(Condition.LOAD, load, 0.02 * parts.weights, _oom(run)))
        if rules.free_check and budget is not None:
            sentence = (
                f"Free memory on device ({free:.2f}/{run.total_gib:.2f} GiB) on startup is less than desired GPU memory utilization "
                f"({resolved.utilization}, {budget:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
            )
            found.append(Check(Condition.FREE_MEMORY, free - budget, 0.0 if sure else 0.15, sentence))
        if blocks := graphs.profiling_blocks(rules, seqs=resolved.seqs, eager=run.enforce_eager):
            profile = free - parts.weights - parts.non_torch - blocks * paged.block_bytes / GIB
            found.append(Check(Condition.PROFILE, profile, band, _oom(run)))
    if kv is None:
        return found
    if paged.groups:
        usable = kv - (paged.block_bytes / GIB if rules.null_block else 0.0)
        found.append(Check(Condition.NO_KV, usable - _BYTE, band, _no_kv()))
        if rules.v1:
            margin = usable - paged.needed_bytes(resolved.max_model_len) / GIB
        else:
            margin = (
                floor(max(0.0, kv) * GIB / paged.block_bytes) - ceil(resolved.max_model_len / paged.groups[0].block)
            ) * (paged.block_bytes / GIB)
        # it searches a length: only where it may be shown
        sentence = _too_small(resolved, paged, kv=kv) if margin < band else ""
        found.append(Check(Condition.KV_TOO_SMALL, margin, band, sentence))
        if states_checked(run, rules):
            short = (paged.blocks(max(0.0, kv) * GIB) - resolved.seqs) * paged.block_bytes / GIB
            sentence = f"max_num_seqs ({resolved.seqs}) exceeds available Mamba cache blocks ({paged.blocks(max(0.0, kv) * GIB)})."
            found.append(Check(Condition.STATES, short, band, sentence))
    if free is not None and not run.wsl2:  # WSL2 pages device memory out to the host instead of failing
        late = constant("context.lateGiB") if rules.version >= (0, 22, 0) else constant("band.leastGiB")
        found.append(
            Check(
                Condition.AFTER_KV,
                _after_kv(run, resolved, parts, free=free, kv=kv),
                sqrt(band**2 + late**2),
                _oom(run),
            )
        )
    return found


def _after_kv(run: EngineRun, resolved: Resolved, parts: Parts, *, free: float, kv: float) -> float:
    """GiB left once the KV cache is reserved, graphs are captured and the sampler has warmed up in what the profiling
    run gave back.
    """
    real = graphs.real_gib(
        run.architecture,
        resolved.rules,
        seqs=resolved.seqs,
        eager=run.enforce_eager,
        tensor_parallel=run.tensor_parallel,
    )
    warm = activations.warmup_gib(run.architecture, seqs=resolved.seqs)
    if run.kv_cache_memory_gib is not None:  # no profile has kept room for the peak of a step
        warm = max(warm, parts.activation)
    own = parts.non_torch
    # what is charged there has left `free` already: the context and the neighbours
    if resolved.rules.accounting == "device":
        own = min(
            own, constant("nonTorch.growthGiB") + constant("nonTorch.growthPerRankGiB") * (run.tensor_parallel - 1)
        )
    return free - parts.weights - own - max(0.0, kv) - real - warm


def _oom(run: EngineRun) -> str:
    total = f" GPU 0 has a total capacity of {run.total_gib:.2f} GiB" if run.total_gib is not None else ""
    return f"torch.OutOfMemoryError: CUDA out of memory.{total}"


def _no_kv() -> str:
    return "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."


def _too_small(resolved: Resolved, paged: Pool, *, kv: float) -> str:
    length, usable = resolved.max_model_len, max(0.0, kv) * GIB
    if not resolved.rules.v1:
        return (
            f"The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in KV cache "
            f"({paged.tokens(usable, length)}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
        )
    return (
        f"To serve at least one request with the model's max seq len ({length}), ({paged.needed_bytes(length) / GIB:.2f} GiB KV cache is "
        f"needed, which is larger than the available KV cache memory ({kv:.2f} GiB). Based on the available memory, the estimated maximum "
        f"model length is {paged.largest_len(usable)}."
    )
