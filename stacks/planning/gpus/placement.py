"""All engines of a machine on its cards: who gets how much, in which order they start, and the check that each start
holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stacks.plan import BudgetPlan, CardPlan, SharePlan
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.engines.engine import Draft, Placed
from stacks.planning.gpus import device_plugin
from stacks.planning.gpus.cards import Placement, place
from stacks.planning.gpus.sharing_rules import kind_of
from stacks.settings import NvidiaMachine

SLACK_GIB = 2 / 1024
"""Against rounding: a KV cache is cut to whole MiB."""


@dataclass(frozen=True)
class Allocation:
    """Every engine by model name, the cards, and the budget that was checked; where something was refused, engines
    without a place.
    """

    engines: Mapping[str, Placed]
    cards: tuple[CardPlan, ...]
    shared: bool
    budget: BudgetPlan


def allocate(
    drafts: Sequence[Draft],
    machine: NvidiaMachine,
    inputs: Inputs,
    notes: Notes,
    own: Mapping[str, Notes],
) -> Allocation:
    """Places all replicas of all models. Refusals of one model go to its notes in `own`, those of the machine to
    `notes`.
    """
    free = drafts[0].total - drafts[0].desktop if drafts else 0.0
    any_card = kind_of(inputs.settings) != "none"  # the device plugin picks a pod's card, and gives it one share
    ladders = [_on_one_card(draft.fallbacks()) if any_card else draft.fallbacks() for draft in drafts]
    alone = [next((n for n, tried in enumerate(steps) if tried.starts(free)), None) for steps in ladders]
    for draft, step in zip(drafts, alone, strict=True):
        if step is None:
            draft.refuse(own[draft.spec.name])
    wanted = sum(d.spec.replicas * d.fallbacks()[0].need(0).cards for d in drafts)
    budget = BudgetPlan(
        name="GPUs",
        need=wanted,
        have=machine.gpus,
        unit="GPUs",
        what="one an engine; engines of a shared card count as one",
    )
    unplaced = Allocation({d.spec.name: Placed(d.unplaced(), ()) for d in drafts}, (), False, budget)
    if any(step is None for step in alone) or not drafts:
        if wanted > machine.gpus and not machine.shared_card:
            _refuse_unplaced(drafts, Placement((), ()), machine, free, notes)
        return unplaced
    chosen, placement = list(drafts), Placement((), ())
    deepest = max(len(steps) for steps in ladders) if machine.shared_card else 1
    for down in range(deepest):  # on a shared card all go down together until they fit
        chosen = [steps[min(len(steps) - 1, max(at or 0, down))] for steps, at in zip(ladders, alone, strict=True)]
        needs = [d.need(r) for d in chosen for r in range(d.spec.replicas)]
        placement = place(
            needs,
            cards=machine.gpus,
            free=free - SLACK_GIB,
            shared=machine.shared_card,
            any_card=any_card,
            most=getattr(inputs.settings.gpu.sharing, "replicas", None),
        )
        if not placement.unplaced and not placement.crowded:
            break
    shared = any(len(card.shares) > 1 for card in placement.cards)
    if placement.unplaced:
        _refuse_unplaced(chosen, placement, machine, free, notes)
        return unplaced
    if shared:
        _check_sharing(drafts, inputs, notes)
    engines = {d.spec.name: _settle(d, placement, inputs, own[d.spec.name]) for d in chosen}
    cards = tuple(_card(card.index, placement, engines) for card in placement.cards)
    used = sum(1 for card in placement.cards if card.shares)
    idle = machine.gpus - used
    how = f"{_engines(drafts)} on {used} of {machine.gpus}" + (", which they share" if shared else ", exclusive")
    if idle:
        how += (
            f"; {idle} idle: more replicas, another model or tensorParallel would use {'it' if idle == 1 else 'them'}"
        )
    notes.decide("gpus", f"{used} of {machine.gpus}", "derived", "the placement of engines on cards", how)
    return Allocation(engines, cards, shared, budget.model_copy(update={"need": used}))


def _on_one_card(steps: Sequence[Draft]) -> Sequence[Draft]:
    return [step for step in steps if step.need(0).cards == 1] or steps


def _settle(draft: Draft, placement: Placement, inputs: Inputs, notes: Notes) -> Placed:
    """Settles one model on the smallest of its replicas' shares: all replicas are told the same."""
    mine = [(c.index, s) for c in placement.cards for s in c.shares if s.need.name == draft.spec.name]
    size = min(share.size for _, share in mine)
    neighbours = max(sum(s.size for s in placement.cards[c].shares if s is not share) for c, share in mine)
    before = max(sum(s.size for s in placement.cards[c].shares if s.order < share.order) for c, share in mine)
    return Placed(draft.settle(size, before=before, neighbours=neighbours, inputs=inputs, notes=notes), tuple(mine))


def _card(index: int, placement: Placement, engines: Mapping[str, Placed]) -> CardPlan:
    """A card as the plan shows it, with the KV caches that were really given."""
    first = next(iter(engines.values()))
    shares = []
    for share in placement.cards[index].shares:
        engine = engines[share.need.name]
        fixed = engine.settled.draft.fixed
        shares.append(
            SharePlan(
                model=share.need.name,
                replica=share.need.replica,
                start_order=share.order,
                fixed_gib=round(fixed, 3),
                kv_cache_gib=engine.settled.memory.kv_cache_gib,
            )
        )
    total, desktop = first.settled.draft.total, first.settled.draft.desktop
    unused = total - desktop - sum(s.fixed_gib + s.kv_cache_gib for s in shares)
    return CardPlan(
        index=index,
        total_gib=round(total, 3),
        desktop_gib=round(desktop, 3),
        shares=tuple(shares),
        unused_gib=round(max(0.0, unused), 3),
    )


def _check_sharing(drafts: Sequence[Draft], inputs: Inputs, notes: Notes) -> None:
    for problem in dict.fromkeys(draft.sharing_problem() for draft in drafts):
        if problem:
            notes.refuse(problem)
    if device_plugin.mode(inputs.settings) is None:  # else sharing.py says how the cluster offers a card to several
        reason = "engines share memory by fixed KV caches and take turns on the compute; no isolation"
        notes.decide("sharedCard", "true", "stated", "stack file", reason)


def _refuse_unplaced(
    drafts: Sequence[Draft], placement: Placement, machine: NvidiaMachine, free: float, notes: Notes
) -> None:
    wanted = sum(d.spec.replicas for d in drafts)
    least = " + ".join(f"{d.spec.replicas} x {d.spec.name} {gib(d.fixed + d.kv_least)}" for d in drafts)
    needed = sum(d.spec.replicas * (d.fixed + d.kv_least) for d in drafts)
    who = ", ".join(f"{n.name}[{n.replica}]" for n in placement.unplaced)
    if machine.shared_card:
        notes.refuse(
            f"sharing: {least} = {gib(needed)} at least (weights, activations, context, error band and one full "
            f"request each), and {machine.gpus} x {gib(free)} are there beside the desktop; no place is left for "
            f"{who}. The last to start would end with: Free memory on device is less than desired GPU memory "
            "utilization."
        )
        return
    notes.refuse(
        f"{_engines(drafts)} want {wanted} GPUs, one each, and the machine has {machine.gpus}. On shared cards they "
        f"would need {gib(needed)} ({least}) of {machine.gpus} x {gib(free)}, "
        + (
            "which could fit with machine.sharedCard: true"
            if needed <= machine.gpus * free
            else "which would not fit either"
        )
        + "; engines on one card share its compute."
    )


def _engines(drafts: Sequence[Draft]) -> str:
    return " + ".join(f"{d.spec.replicas} x {d.spec.name}" for d in drafts)
