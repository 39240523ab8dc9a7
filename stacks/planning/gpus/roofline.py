"""Upper bounds of speed from the card's memory bandwidth alone. Real engines reach part of them; nothing here is a
promise.

Each decoding step of vLLM reads all weights that are active once and every running request's KV cache once, so that
step seconds >= (weights + requests x KV bytes of one) / bandwidth,   tokens per second <= requests / step seconds.
Source: the roofline model (Williams, Waterman, Patterson 2009) for a memory-bound step. Prefill, sampling and
scheduling come on top.
"""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True)
class Reads:
    """What one engine reads a step. `weights_gib` is GiB (2^30); `active` is the part of them that one token needs
    (MoE, else 1).
    """

    weights_gib: float
    kv_bytes_per_request: float
    active: float = 1.0

    def step_seconds(self, requests: int, bandwidth_gb: float) -> float:
        """The least time of one decoding step for `requests` running requests; `bandwidth_gb` is 10^9 bytes a
        second.
        """
        weights = self.weights_gib * _GIB * min(1.0, self.active * max(1, requests))
        return (weights + requests * self.kv_bytes_per_request) / (bandwidth_gb * 1e9)

    def tokens_per_second(self, requests: int, bandwidth_gb: float) -> float:
        """The most tokens a second of all `requests` together."""
        return requests / self.step_seconds(requests, bandwidth_gb) if requests else 0.0


def shared_tokens_per_second(engines: list[tuple[Reads, int]], bandwidth_gb: float) -> float:
    """The most tokens a second of all engines of one card, each with its requests: they take turns, and each reads
    weights of its own.
    """
    requests = sum(n for _, n in engines)
    seconds = sum(reads.step_seconds(n, bandwidth_gb) for reads, n in engines if n)
    return requests / seconds if seconds else 0.0
