"""Why an engine on a card is told what it is told."""

from __future__ import annotations

from stacks.planning.draft import Notes, gib
from stacks.planning.gpu_cards import Engine
from stacks.planning.gpu_memory import arithmetic

_FIT = "stacks/planning/fit"


def decide(engine: Engine, notes: Notes) -> None:
    """Records what was derived for one engine; what the stack file says was recorded before."""
    choice, memory, draft = engine.choice, engine.memory, engine.draft
    wish = draft.wish
    if choice.max_model_len != wish.context_tokens:
        _replace(notes, "maxModelLen", choice.max_model_len, "objective: context")
    if choice.max_num_seqs != wish.concurrent_requests:
        _replace(
            notes,
            "maxNumSeqs",
            choice.max_num_seqs,
            f"objective: {'throughput' if choice.max_num_seqs > wish.concurrent_requests else 'latency'}",
        )
    notes.decide(
        "maxNumBatchedTokens",
        choice.max_num_batched_tokens,
        "derived",
        "vLLM's default is 2048 below 70 GiB cards",
        _step(engine),
    )
    if wish.pin.enforce_eager is not None:
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
    kv = gib(memory.kv_cache_gib)
    shown = arithmetic(draft, draft.least) + (
        f" - {gib(memory.neighbours_gib)} neighbours" if memory.neighbours_gib else ""
    )
    if choice.kv_bytes is not None:
        why = "fixed, so that profiling noise and neighbours cannot change it; whole MiB"
        notes.decide("kvCacheMemoryBytes", choice.kv_bytes, "derived", "vLLM >= 0.10.2", f"{kv}: {why}")
        reason = f"what the engine will hold, so that it refuses to start where less of {gib(draft.total)} is free; it sizes nothing"
        notes.decide(
            "gpuMemoryUtilization", f"{choice.utilization:.2f}", "derived", "v1/worker/utils.py request_memory", reason
        )
    elif wish.pin.gpu_memory_utilization is not None:
        notes.decide(
            "gpuMemoryUtilization",
            f"{wish.pin.gpu_memory_utilization:.2f}",
            "stated",
            "stack file",
            "pin.gpuMemoryUtilization",
        )
    elif choice.utilization is not None:
        notes.decide(
            "gpuMemoryUtilization",
            f"{choice.utilization:.2f}",
            "derived",
            _FIT,
            "this version has no --kv-cache-memory-bytes",
        )
    notes.decide("kvCache", kv, "derived", _FIT, f"{shown}; holds {memory.kv_tokens:,} tokens")
    held = f"requests of {choice.max_model_len} tokens held at once"
    notes.decide("concurrency", f"{memory.concurrency:.2f}x", "derived", _FIT, held)
    if len(engine.shares) and any(share.order for _, share in engine.shares):
        order = ", ".join(
            f"replica {share.need.replica} on card {card}: {share.order + 1}." for card, share in engine.shares
        )
        notes.decide(
            "startOrder",
            order,
            "derived",
            "vllm#55827",
            "engines of one card start one after another: each measures what is free",
        )


def _step(engine: Engine) -> str:
    batched = engine.choice.max_num_batched_tokens
    if batched == engine.choice.max_num_seqs:
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
