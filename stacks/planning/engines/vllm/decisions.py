"""Why an engine on a card is told what it is told."""

from __future__ import annotations

from typing import Literal

from stacks.plan import VllmPlan
from stacks.planning.draft import Notes, gib
from stacks.planning.engines.engine import Placed
from stacks.planning.engines.vllm.gpu_draft import GpuDraft
from stacks.planning.engines.vllm.memory_plan import arithmetic

_FIT = "the memory predictor"


def decide(placed: Placed, notes: Notes) -> None:
    """Records what was derived for one engine; what the stack file says was recorded before."""
    choice, draft = placed.settled.engine, placed.settled.draft
    assert isinstance(draft, GpuDraft)  # noqa: S101  (it is this engine's own)
    spec = draft.spec
    if choice.max_model_len != spec.context_tokens:
        _replace(notes, "maxModelLen", choice.max_model_len, "objective: context")
    if choice.max_num_seqs != spec.concurrent_requests:
        _replace(
            notes,
            "maxNumSeqs",
            choice.max_num_seqs,
            f"objective: {'throughput' if choice.max_num_seqs > spec.concurrent_requests else 'latency'}",
        )
    if choice.tensor_parallel_size > 1:
        _tensor_parallel(choice, spec.tensor_parallel is not None, notes)
    stated = spec.max_num_batched_tokens == choice.max_num_batched_tokens
    notes.decide(
        "maxNumBatchedTokens",
        choice.max_num_batched_tokens,
        "stated" if stated else "derived",
        "stack file" if stated else "vLLM's default is 2048 below 70 GiB cards",
        _step(choice),
    )
    if spec.pin.enforce_eager is not None:
        notes.decide("enforceEager", str(choice.enforce_eager).lower(), "stated", "stack file", "pin.enforceEager")
    elif choice.enforce_eager:
        notes.decide(
            "enforceEager",
            "true",
            "degraded",
            _FIT,
            "with CUDA graphs the engine does not fit; answers come more slowly",
        )
    else:
        notes.decide("enforceEager", "false", "default", "vLLM", "CUDA graphs fit")
    if draft.caches:
        _kv_cache(placed, draft, notes)
    else:
        _no_kv_cache(placed, draft, notes)
    if len(placed.shares) and any(share.order for _, share in placed.shares):
        order = ", ".join(
            f"replica {share.need.replica} on card {card}: {share.order + 1}." for card, share in placed.shares
        )
        notes.decide(
            "startOrder",
            order,
            "derived",
            "vllm#55827",
            "engines of one card start one after another: each measures what is free",
        )


def _kv_cache(placed: Placed, draft: GpuDraft, notes: Notes) -> None:
    choice, memory, spec = placed.settled.engine, placed.settled.memory, draft.spec
    kv = gib(memory.kv_cache_gib)
    shown = arithmetic(draft, draft.least) + (
        f" - {gib(memory.neighbours_gib)} neighbours" if memory.neighbours_gib else ""
    )
    if choice.kv_cache_memory_bytes is not None:
        why = "fixed, so that profiling noise and neighbours cannot change it; whole MiB"
        notes.decide("kvCacheMemoryBytes", choice.kv_cache_memory_bytes, "derived", "vLLM >= 0.10.2", f"{kv}: {why}")
        reason = (
            f"what the engine will hold, so that it refuses to start where less of {gib(draft.total)} is free; it "
            "sizes nothing"
        )
        notes.decide(
            "gpuMemoryUtilization",
            f"{choice.gpu_memory_utilization:.2f}",
            "derived",
            "v1/worker/utils.py request_memory",
            reason,
        )
    elif spec.pin.gpu_memory_utilization is not None:
        notes.decide(
            "gpuMemoryUtilization",
            f"{spec.pin.gpu_memory_utilization:.2f}",
            "stated",
            "stack file",
            "pin.gpuMemoryUtilization",
        )
    elif choice.gpu_memory_utilization is not None:
        notes.decide(
            "gpuMemoryUtilization",
            f"{choice.gpu_memory_utilization:.2f}",
            "derived",
            _FIT,
            "this version has no --kv-cache-memory-bytes",
        )
    notes.decide("kvCache", kv, "derived", _FIT, f"{shown}; holds {memory.kv_tokens:,} tokens")
    held = f"requests of {choice.max_model_len} tokens held at once"
    if memory.concurrency < choice.max_num_seqs:
        held += f", and {choice.max_num_seqs} may run: longer ones wait or are preempted; shorter ones all fit"
        notes.decide("concurrency", f"{memory.concurrency:.2f}x", "degraded", _FIT, held)
    else:
        notes.decide("concurrency", f"{memory.concurrency:.2f}x", "derived", _FIT, held)


def _no_kv_cache(placed: Placed, draft: GpuDraft, notes: Notes) -> None:
    """An encoder: other engines of the card may have what it does not hold."""
    choice, memory = placed.settled.engine, placed.settled.memory
    needs = f"the network keeps nothing from step to step; {arithmetic(draft, draft.least)} is left for others"
    notes.decide("kvCache", "none", "derived", _FIT, needs)
    notes.decide(
        "gpuMemoryUtilization",
        f"{choice.gpu_memory_utilization:.2f}",
        "derived",
        "v1/worker/utils.py request_memory",
        f"so much of {gib(draft.total)} must be free at start; it sizes nothing",
    )
    texts = max(1, choice.max_num_batched_tokens // choice.max_model_len)
    reason = f"{texts} of {choice.max_model_len} tokens in one step, shorter ones more; others wait"
    notes.decide("concurrency", f"{memory.concurrency:.0f}x", "derived", "stack file", reason)


def _tensor_parallel(choice: VllmPlan, stated: bool, notes: Notes) -> None:
    reason = "each card holds its part of every layer, which waits for all cards, over PCIe or NVLink"
    if not stated:
        reason = f"one card does not hold the model; {reason}"
    source = "stack file" if stated else "the placement of engines on cards"
    kind: Literal["stated", "derived"] = "stated" if stated else "derived"
    notes.decide("tensorParallelSize", choice.tensor_parallel_size, kind, source, reason)


def _step(choice: VllmPlan) -> str:
    batched = choice.max_num_batched_tokens
    if batched == choice.max_num_seqs:
        return "as many as requests: vLLM needs at least that"
    default = 2048
    return (
        "the default"
        if batched == default
        else "smaller steps take less memory"
        if batched < default
        else "larger steps read prompts faster"
    )


def _replace(notes: Notes, name: str, value: object, reason: str) -> None:
    notes.decisions[:] = [d for d in notes.decisions if d.name != name]
    notes.decide(name, value, "derived", _FIT, reason)
