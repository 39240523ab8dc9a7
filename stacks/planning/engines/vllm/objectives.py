"""What the rest of a card is spent on. Without an objective every setting is taken as it is written.

throughput  more requests at once (concurrentRequests is the least), as long as all of them are held at full length, and
larger steps
latency     fewer requests at once (concurrentRequests is the most): what is let in is held, and a long prompt delays
others by 512 tokens
context     the longest context that the card holds (contextTokens is the least)
replicas    as many engines as the cards hold (replicas is the least); see build.py, which plans each candidate as a
whole
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Literal

from stacks.planning.draft import Notes
from stacks.planning.engines.vllm.memory import kv_needed_gib, largest_len

if TYPE_CHECKING:
    from stacks.planning.engines.vllm.gpu_draft import GpuDraft

Objective = Literal["throughput", "latency", "context", "replicas"]
_MOST_REQUESTS = 256  # vLLM's own default below 70 GiB cards
_LARGER_STEPS = (8192, 4096)
_SMALL_STEP = 512
_STEP_TOKENS = 128
_KV_KEPT = 0.95  # part of the KV cache that larger steps must leave


def settle(draft: GpuDraft, size: float, objective: Objective | None, notes: Notes) -> GpuDraft:
    """The engine that serves `objective` best inside `size` GiB of a card."""
    if objective == "context":
        return _longest(draft, size, notes)
    if objective == "throughput":
        return _most_requests(draft, size, notes)
    if objective == "latency":
        return _fewest_requests(draft, size, notes)
    return draft


def pool(draft: GpuDraft, size: float) -> float:
    """GiB of KV cache that the engine has inside `size` GiB, the error band taken off."""
    return size - draft.fixed


def _longest(draft: GpuDraft, size: float, notes: Notes) -> GpuDraft:
    stated = draft.run.max_model_len or 1
    trained = draft.run.architecture.max_positions
    held = min(trained, largest_len(draft.run, kv_gib=pool(draft, size))) // _STEP_TOKENS * _STEP_TOKENS
    longest = max(stated, held)
    limit = "what the model was trained for" if longest >= trained else "the longest that the KV cache holds once"
    notes.decide(
        "objective",
        "context",
        "stated",
        "stack file",
        f"{longest} tokens: {limit}; contextTokens {stated} is the least",
    )
    return draft.with_limits(context=longest)


def _full_requests(draft: GpuDraft, size: float) -> int:
    """How many full-length requests the pool holds at once."""
    one = kv_needed_gib(draft.run, max_model_len=draft.run.max_model_len or 1)
    return floor(pool(draft, size) / one) if one > 0 else _MOST_REQUESTS


def _most_requests(draft: GpuDraft, size: float, notes: Notes) -> GpuDraft:
    """Every request more costs sampler memory, so the number is found from above: the first that the pool beside it
    still holds.
    """
    stated = draft.run.max_num_seqs or 1
    best = draft
    low, high = stated, _MOST_REQUESTS
    while low < high:
        middle = (low + high + 1) // 2
        tried = draft.with_limits(requests=middle)
        if _full_requests(tried, size) >= middle:
            low, best = middle, tried
        else:
            high = middle - 1
    for step in _LARGER_STEPS:
        larger = best.with_limits(batched=step)
        if pool(larger, size) >= _KV_KEPT * pool(best, size) and _full_requests(larger, size) >= min(
            low, _full_requests(best, size)
        ):
            best = larger
            break
    held = _full_requests(best, size)
    asked = best.run.max_num_seqs or 1
    how = "all held at full length" if held >= asked else f"{held} of them held at full length, shorter ones more"
    text = (
        f"{asked} requests at once, {how}, in steps of {best.run.max_num_batched_tokens} tokens; concurrentRequests "
        f"{stated} is the least"
    )
    notes.decide("objective", "throughput", "stated", "stack file", text)
    return best


def _fewest_requests(draft: GpuDraft, size: float, notes: Notes) -> GpuDraft:
    stated = draft.run.max_num_seqs or 1
    fewer = max(1, min(stated, _full_requests(draft.with_limits(batched=_SMALL_STEP), size)))
    small = draft.with_limits(requests=fewer, batched=_SMALL_STEP)
    text = (
        f"{fewer} of {stated} requests at once, so that none is preempted; a prompt is read in steps of "
        f"{small.run.max_num_batched_tokens} tokens"
    )
    notes.decide("objective", "latency", "stated", "stack file", text)
    return small
