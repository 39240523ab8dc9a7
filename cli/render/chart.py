"""What a plan's bars show, in the terminal and in a picture: who holds how much of each card, and how much of each
budget is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stacks.plan import BudgetPlan, CardPlan, ModelPlan, Plan

Kind = Literal["desktop", "context", "weights", "work", "band", "kv", "unused"]


@dataclass(frozen=True)
class Segment:
    """A piece of a card; `gib` is GiB (2^30)."""

    label: str
    gib: float
    kind: Kind


def card_segments(plan: Plan, card: CardPlan) -> list[Segment]:
    """The card from one end to the other, in the order in which memory is taken."""
    segments = [Segment("desktop and driver", card.desktop_gib, "desktop")]
    models = {model.name: model for model in plan.models}
    for share in card.shares:
        model = models[share.model]
        who = (
            ""
            if len(card.shares) == 1
            else f"{share.start_order + 1}. {share.model}" + (f"[{share.replica}]" if model.replicas > 1 else "")
        )
        segments += [Segment(f"{who}: {s.label}" if who else s.label, s.gib, s.kind) for s in _engine(model)]
    used = sum(s.gib for s in segments)
    return [*segments, Segment("unused", max(0.0, card.total_gib - used), "unused")]


def _engine(model: ModelPlan) -> list[Segment]:
    memory = model.memory
    return [
        Segment("CUDA context, graphs", memory.context_gib, "context"),
        Segment("weights", memory.weights_gib, "weights"),
        Segment("activations", memory.activation_gib, "work"),
        Segment("non-torch", memory.non_torch_gib, "work"),
        *([Segment("CUDA graph estimate", memory.cuda_graphs_gib, "work")] if memory.cuda_graphs_gib else []),
        *([Segment("serving peak", memory.serving_peak_gib, "work")] if memory.serving_peak_gib else []),
        Segment("error band", memory.error_band_gib, "band"),
        Segment("KV cache", memory.kv_cache_gib, "kv"),
    ]


def budget_text(budget: BudgetPlan) -> str:
    """`6.5 of 8.0 GiB`."""
    whole = all(float(size).is_integer() for size in (budget.need, budget.have or 0))
    digits = 1 if budget.unit == "GiB" else 0 if whole else 2
    have = "unknown" if budget.have is None else f"{budget.have:.{digits}f}"
    return f"{budget.need:.{digits}f} of {have} {budget.unit}"


def card_title(plan: Plan, card: CardPlan) -> str:
    """`card 0: NVIDIA GeForce RTX 2060 SUPER, 8.00 GiB`."""
    return f"card {card.index}: {plan.machine.gpu_name}, {card.total_gib:.2f} GiB"


def model_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A table's rows: model, context, requests, replicas, KV cache, full-length requests held, upper bounds of
    speed.
    """
    rows: list[tuple[str, ...]] = [
        ("model", "context", "requests", "replicas", "KV cache", "max-length requests that fit", "throughput bound")
    ]
    for model in plan.models:
        bounds = model.estimate
        speed = (
            f"{bounds.single_tokens_per_second:g} tok/s alone, {bounds.total_tokens_per_second:g} with "
            f"{bounds.requests}"
            if bounds
            else "-"
        )
        rows.append(
            (
                model.name,
                str(model.engine.max_model_len),
                str(model.engine.max_num_seqs),
                str(model.replicas),
                f"{model.memory.kv_cache_gib:.2f} GiB, {model.memory.kv_tokens:,} tokens",
                f"{model.memory.concurrency:.2f}",
                speed,
            )
        )
    return rows
