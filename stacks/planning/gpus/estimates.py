"""Upper bounds of speed for the plan of one model: roofline.py applied to what the plan gives it."""

from __future__ import annotations

from collections.abc import Mapping

from stacks.plan import CardPlan, EstimatePlan
from stacks.planning.engines.engine import Placed
from stacks.planning.gpus.roofline import shared_tokens_per_second


def in_flight(engine: Placed) -> int:
    """Full-length requests that an engine works on at once: admitted, and held by its KV cache."""
    return max(1, min(engine.settled.engine.max_num_seqs, int(engine.settled.memory.concurrency)))


def estimate(
    name: str, engines: Mapping[str, Placed], cards: tuple[CardPlan, ...], bandwidth_gb_s: float
) -> EstimatePlan:
    """The bounds of one model; engines that share a card take turns, so that a neighbour's step counts into
    one's own.
    """
    mine = engines[name]
    total, slowest, running = 0.0, 0.0, 0
    for card in cards:
        here = [share.model for share in card.shares]
        own = sum(in_flight(mine) for model in here if model == name)
        if not own:
            continue
        together = [(engines[model].settled.draft.reads(), in_flight(engines[model])) for model in here]
        everybody = sum(n for _, n in together)
        total += shared_tokens_per_second(together, bandwidth_gb_s) * own / everybody
        slowest = max(slowest, sum(r.step_seconds(n, bandwidth_gb_s) for r, n in together))
        running += own
    return EstimatePlan(
        bandwidth_gb_s=bandwidth_gb_s,
        single_tokens_per_second=round(mine.settled.draft.reads().tokens_per_second(1, bandwidth_gb_s), 1),
        requests=running,
        total_tokens_per_second=round(total, 1),
        step_milliseconds=round(slowest * 1000, 2),
    )


def gain(name: str, engines: Mapping[str, Placed], bounds: EstimatePlan) -> str | None:
    """What several engines of one model on one card give beside one engine with as many requests, in words; None where
    the model's engines are on cards of their own.
    """
    mine = engines[name]
    if len(mine.shares) < 2 or len({card for card, _ in mine.shares}) > 1:
        return None
    alone = mine.settled.draft.reads().tokens_per_second(bounds.requests, bounds.bandwidth_gb_s)
    return (
        f"at most {bounds.total_tokens_per_second:.0f} tok/s with {bounds.requests} requests, and one engine with as "
        f"many at most {alone:.0f}: it reads its weights once a step for all; {len(mine.shares)} engines give "
        "processes and queues of their own"
    )
