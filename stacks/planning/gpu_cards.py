"""All engines of a machine on its cards: who gets how much, in which order they start, and the check that each start
holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

from stacks.planning import legality
from stacks.planning.cards import Placement, Share, place
from stacks.planning.draft import EngineChoice, Inputs, Notes, gib
from stacks.planning.fit import Prediction, Verdict, predict
from stacks.planning.gpu_engine import GpuDraft, Rung
from stacks.planning.gpu_memory import memory_plan, refuse
from stacks.planning.objectives import settle
from stacks.planning.plan import BudgetPlan, CardPlan, MemoryPlan, SharePlan
from stacks.settings import NvidiaMachine

_MIB = 2**20
_SLACK_GIB = 2 / 1024  # against rounding: the KV cache is cut to whole MiB
_STEP_GIB = 0.125
_TRIES = 16
SHARING = "two engines on one card need the sharing layer, which this release plans and does not deploy yet"


@dataclass(frozen=True)
class Engine:
    """One model's engine as it will be started, on a card that it has for itself or shares."""

    draft: GpuDraft
    choice: EngineChoice
    memory: MemoryPlan
    shares: tuple[tuple[int, Share], ...]  # (card, share), one a replica


@dataclass(frozen=True)
class Allocation:
    """Every engine by model name, the cards, and the budget that this proves; where something was refused, engines
    without a place.
    """

    engines: Mapping[str, Engine]
    cards: tuple[CardPlan, ...]
    shared: bool
    budget: BudgetPlan


def allocate(
    drafts: Sequence[GpuDraft],
    machine: NvidiaMachine,
    inputs: Inputs,
    notes: Notes,
    own: Mapping[str, Notes],
    *,
    sharing_layer: bool,
) -> Allocation:
    """Places all replicas of all models. Refusals of one model go to its notes in `own`, those of the machine to
    `notes`.

    `sharing_layer`: whether a plan that puts several engines on one card may leave here; the deploy path refuses it.
    """
    free = drafts[0].total - drafts[0].desktop if drafts else 0.0
    rungs = _rungs(int(inputs.catalog.number("gpuEngine.maxNumBatchedTokens")))
    alone = [_own_rung(draft, free, rungs) for draft in drafts]
    for draft, rung in zip(drafts, alone, strict=True):
        if rung is None:
            refuse(draft, _failing(draft), own[draft.wish.name])
    wanted = sum(d.wish.replicas for d in drafts)
    budget = BudgetPlan(
        name="GPUs",
        need=wanted,
        have=machine.gpus,
        unit="GPUs",
        what="one an engine; engines of a shared card count as one",
    )
    unplaced = Allocation({d.wish.name: _unplaced(d) for d in drafts}, (), False, budget)
    if any(rung is None for rung in alone) or not drafts:
        if wanted > machine.gpus and not machine.shared_card:
            _refuse_homeless(drafts, Placement((), ()), machine, free, notes)
        return unplaced
    steps = [rungs.index(rung) for rung in alone if rung]
    chosen, placement = list(drafts), Placement((), ())
    for down in range(len(rungs) if machine.shared_card else 1):  # on a shared card all go down together until they fit
        chosen = [d.at(rungs[min(len(rungs) - 1, max(step, down))]) for d, step in zip(drafts, steps, strict=True)]
        needs = [d.need(r) for d in chosen for r in range(d.wish.replicas)]
        placement = place(needs, cards=machine.gpus, free=free - _SLACK_GIB, shared=machine.shared_card)
        if not placement.unplaced:
            break
    shared = any(len(card.shares) > 1 for card in placement.cards)
    if placement.unplaced:
        _refuse_homeless(chosen, placement, machine, free, notes)
        return unplaced
    if shared:
        _check_sharing(drafts[0].run.version, sharing_layer=sharing_layer, notes=notes)
    engines = {d.wish.name: _engine(d, placement, inputs, own[d.wish.name]) for d in chosen}
    cards = tuple(_card(card.index, placement, engines) for card in placement.cards)
    used = sum(1 for card in placement.cards if card.shares)
    how = f"{_engines(drafts)} on {used} of {machine.gpus}" + (", which they share" if shared else ", exclusive")
    notes.decide("gpus", f"{used} of {machine.gpus}", "derived", "stacks/planning/cards.py", how)
    return Allocation(engines, cards, shared, budget.model_copy(update={"need": used}))


def _rungs(batched: int) -> tuple[Rung, ...]:
    """From the fastest to the leanest: CUDA graphs go before the step gets very small, since each saves more than the
    other costs.
    """
    return (
        Rung(False, batched),
        Rung(False, batched // 2),
        Rung(True, batched),
        Rung(True, batched // 2),
        Rung(True, batched // 4),
    )


def _own_rung(draft: GpuDraft, free: float, rungs: Sequence[Rung]) -> Rung | None:
    """The first rung on which one engine starts on an empty card."""
    for rung in rungs[:1] if draft.pinned is not None else rungs:
        tried = draft.at(rung)
        if tried.pinned is not None:
            if tried.least.verdict is Verdict.FITS:
                return rung
        elif tried.fixed + tried.kv_least <= free - _SLACK_GIB:
            return rung
    return None


def _failing(draft: GpuDraft) -> Prediction:
    """The prediction that shows why the engine does not start."""
    if draft.pinned is not None:
        return draft.least
    share = max(0.01, floor((draft.run.free_gib or 0.0) / draft.total * 100) / 100)
    return predict(replace(draft.run, gpu_memory_utilization=share))


def _engine(draft: GpuDraft, placement: Placement, inputs: Inputs, notes: Notes) -> Engine:
    """Settles one model on the smallest of its replicas' shares: all replicas are told the same."""
    name = draft.wish.name
    mine = [(c.index, s) for c in placement.cards for s in c.shares if s.need.name == name]
    size = min(share.size for _, share in mine)
    neighbours = max(sum(s.size for s in placement.cards[c].shares if s is not share) for c, share in mine)
    before = max(sum(s.size for s in placement.cards[c].shares if s.order < share.order) for c, share in mine)
    if draft.pinned is None:
        draft = settle(draft, size, inputs.settings.objective, notes)
    kv_bytes, utilization, prediction = _kv(draft, size, before, inputs)
    if prediction.verdict is not Verdict.FITS:
        refuse(draft, prediction, notes)
    memory = memory_plan(draft, prediction, neighbours=neighbours, kv_bytes=kv_bytes)
    return Engine(draft, _choice(draft, utilization, kv_bytes), memory, tuple(mine))


def _unplaced(draft: GpuDraft) -> Engine:
    """An engine that was refused, as far as the other budgets need it."""
    return Engine(
        draft, _choice(draft, draft.pinned, None), memory_plan(draft, draft.least, neighbours=0.0, kv_bytes=None), ()
    )


def _choice(draft: GpuDraft, utilization: float | None, kv_bytes: int | None) -> EngineChoice:
    return EngineChoice(
        dtype=draft.run.dtype or "float16",
        max_model_len=draft.run.max_model_len or 0,
        max_num_seqs=draft.run.max_num_seqs or 0,
        max_num_batched_tokens=draft.run.max_num_batched_tokens or 0,
        utilization=utilization,
        enforce_eager=draft.run.enforce_eager,
        kv_bytes=kv_bytes,
        kv_dtype=draft.wish.kv_cache_dtype,
        trust_remote_code=draft.wish.trust_remote_code,
    )


def _kv(draft: GpuDraft, size: float, before: float, inputs: Inputs) -> tuple[int | None, float, Prediction]:
    """The KV cache that fills `size` GiB, in whole MiB, and the utilization with which vLLM's start check holds beside
    `before` GiB.
    """
    free = (draft.run.free_gib or 0.0) - before
    if draft.pinned is not None:
        return None, draft.pinned, predict(replace(draft.run, gpu_memory_utilization=draft.pinned, free_gib=free))
    most = inputs.catalog.number("gpuEngine.largestUtilization")
    held = min(most, (size - draft.least.outside_gib - draft.band) / draft.total, free / draft.total)
    utilization = max(0.01, floor(held * 100) / 100)
    if not legality.has_kv_bytes(draft.run.version):
        return None, utilization, predict(replace(draft.run, gpu_memory_utilization=utilization, free_gib=free))
    kv, prediction = max(size - draft.fixed, draft.kv_least), draft.least
    for _ in range(_TRIES):
        whole = ceil(kv * 1024) if kv == draft.kv_least else floor(kv * 1024)
        prediction = draft.with_kv(whole / 1024, utilization=utilization, free=free)
        if prediction.verdict is Verdict.FITS or kv == draft.kv_least:
            break
        kv = max(kv - _STEP_GIB, draft.kv_least)
    return round((prediction.kv_gib or 0.0) * 1024) * _MIB, utilization, prediction


def _card(index: int, placement: Placement, engines: Mapping[str, Engine]) -> CardPlan:
    """A card as the plan shows it, with the KV caches that were really given."""
    first = next(iter(engines.values()))
    shares = []
    for share in placement.cards[index].shares:
        engine = engines[share.need.name]
        fixed = engine.draft.fixed
        shares.append(
            SharePlan(
                model=share.need.name,
                replica=share.need.replica,
                start_order=share.order,
                fixed_gib=round(fixed, 3),
                kv_cache_gib=engine.memory.kv_cache_gib,
            )
        )
    total, desktop = first.draft.total, first.draft.desktop
    unused = total - desktop - sum(s.fixed_gib + s.kv_cache_gib for s in shares)
    return CardPlan(
        index=index,
        total_gib=round(total, 3),
        desktop_gib=round(desktop, 3),
        shares=tuple(shares),
        unused_gib=round(max(0.0, unused), 3),
    )


def _check_sharing(version: str, *, sharing_layer: bool, notes: Notes) -> None:
    if illegal := legality.check_sharing(version):
        notes.refuse(str(illegal))
    if not sharing_layer:
        notes.refuse(f"{SHARING}; `lab plan` and `lab what-if` show what it would be")
    notes.decide(
        "sharedCard",
        "true",
        "stated",
        "stack file",
        "engines share memory by fixed KV caches and take turns on the compute; no isolation",
    )


def _refuse_homeless(
    drafts: Sequence[GpuDraft], placement: Placement, machine: NvidiaMachine, free: float, notes: Notes
) -> None:
    wanted = sum(d.wish.replicas for d in drafts)
    least = " + ".join(f"{d.wish.replicas} x {d.wish.name} {gib(d.fixed + d.kv_least)}" for d in drafts)
    needed = sum(d.wish.replicas * (d.fixed + d.kv_least) for d in drafts)
    who = ", ".join(f"{n.name}[{n.replica}]" for n in placement.unplaced)
    if machine.shared_card:
        notes.refuse(
            f"sharing: {least} = {gib(needed)} at least (weights, activations, context, error band and one full request each), and "
            f"{machine.gpus} x {gib(free)} are there beside the desktop; no place is left for {who}. The last to start would end with: "
            "Free memory on device is less than desired GPU memory utilization."
        )
        return
    notes.refuse(
        f"{_engines(drafts)} want {wanted} GPUs, one each, and the machine has {machine.gpus}. On shared cards they would need {gib(needed)} "
        f"({least}) of {machine.gpus} x {gib(free)}, "
        + (
            "which could fit with machine.sharedCard: true"
            if needed <= machine.gpus * free
            else "which would not fit either"
        )
        + "; engines on one card share its compute."
    )


def _engines(drafts: Sequence[GpuDraft]) -> str:
    return " + ".join(f"{d.wish.replicas} x {d.wish.name}" for d in drafts)
