"""What a start that ran says about the next one on the same machine."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from stacks.planning.engines.vllm.memory.predict import predict
from stacks.planning.engines.vllm.memory.run import EngineRun, Measured


def learn(run: EngineRun, *, kv_gib: float, weights_gib: float | None = None) -> Measured:
    """What vLLM printed of `run` as a Measured: "Available KV cache memory" (`kv_gib`) and, where read, the weights.

    The run must not be one with a given KV cache, which tells nothing. Raises ValueError for it.
    """
    if run.kv_cache_memory_gib is not None:
        raise ValueError("a given KV cache is what was given: nothing can be learned from it")
    seen = Measured(model=run.model_key, weights_gib=weights_gib, cards=run.cards)
    predicted = predict(replace(run, measured=seen)).kv_gib
    if predicted is None:
        raise ValueError("the card's memory is not known")
    return replace(seen, offset_gib=kv_gib - predicted)


def joined(seen: list[Measured]) -> Measured:
    """Several starts of one machine as one: their offsets' mean, and what the last of them has of its model."""
    offsets = [one.offset_gib for one in seen if one.offset_gib is not None]
    return replace(seen[-1], offset_gib=fmean(offsets), starts=len(offsets))
