"""Upper bounds of speed for the plan of one model: roofline.py applied to what the plan gives it."""

from __future__ import annotations

from collections.abc import Mapping

from stacks.planning.fit import GIB, kv_needed_gib
from stacks.planning.gpu_cards import Engine
from stacks.planning.gpu_engine import GpuDraft
from stacks.planning.plan import CardPlan, EstimatePlan
from stacks.planning.roofline import Reads, shared_tokens_per_second


def reads(draft: GpuDraft) -> Reads:
    """What one engine reads a step with full-length requests. Of a mixture of experts one token needs the chosen
    experts only.
    """
    network = draft.run.architecture
    active, experts = 1.0, network.experts
    if experts and network.linear_weights:
        routed = 3 * network.hidden * experts.intermediate * experts.count * experts.layers
        active = 1.0 - min(1.0, routed / network.linear_weights) * (1.0 - experts.per_token / experts.count)
    one = kv_needed_gib(draft.run, max_model_len=draft.run.max_model_len or 1)
    return Reads(draft.least.weights_gib, one * GIB, active)


def in_flight(engine: Engine) -> int:
    """Full-length requests that an engine works on at once: admitted, and held by its KV cache."""
    return max(1, min(engine.choice.max_num_seqs, int(engine.memory.concurrency)))


def estimate(
    name: str, engines: Mapping[str, Engine], cards: tuple[CardPlan, ...], bandwidth_gb_s: float
) -> EstimatePlan:
    """The bounds of one model; engines that share a card take turns, so that a neighbour's step counts into one's own."""
    mine = engines[name]
    total, slowest, running = 0.0, 0.0, 0
    for card in cards:
        here = [share.model for share in card.shares]
        own = sum(in_flight(mine) for model in here if model == name)
        if not own:
            continue
        together = [(reads(engines[model].draft), in_flight(engines[model])) for model in here]
        everybody = sum(n for _, n in together)
        total += shared_tokens_per_second(together, bandwidth_gb_s) * own / everybody
        slowest = max(slowest, sum(r.step_seconds(n, bandwidth_gb_s) for r, n in together))
        running += own
    return EstimatePlan(
        bandwidth_gb_s=bandwidth_gb_s,
        single_tokens_per_second=round(reads(mine.draft).tokens_per_second(1, bandwidth_gb_s), 1),
        requests=running,
        total_tokens_per_second=round(total, 1),
        step_milliseconds=round(slowest * 1000, 2),
    )
