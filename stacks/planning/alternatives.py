"""The nearest settings that work: single edits of the stack file, each one planned before it is offered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stacks.catalog import Catalog
from stacks.errors import Alternative, Edit
from stacks.planning.alternative_edits import Offer, bold_edits, single_edits
from stacks.settings import Settings

_MOST = 7
_LONGEST_CHAIN = 5
_MOST_PAIRS_TRIED = 400
_MANY = 3  # models; fewer are reached by single edits
_MOST_PAIRS = 24  # second edits that are tried for a first one that does not suffice

Count = Callable[[Settings], int]


def alternatives(settings: Settings, catalog: Catalog, refusals: Count) -> list[Alternative]:
    """Up to seven edits, each of which makes the plan work on its own; pairs of edits where no single one does, else one chain of them.

    `refusals` plans settings and counts what is refused.
    """

    def works(changed: Settings) -> bool:
        return refusals(changed) == 0

    fewer = _fewer_models(settings, works) if len(settings.models) >= _MANY else None  # before the search has used up its tries
    offers = list(single_edits(settings, catalog, works))
    found = {changed.model_dump_json(): offer for offer, changed in offers if works(changed)}
    if not found and fewer:
        return [fewer]
    if not found:
        for first, changed in offers:
            for n, (second, both) in enumerate(single_edits(changed, catalog, works)):
                if n >= _MOST_PAIRS:
                    break
                paths = {e.path for e in first.edits}
                if not paths & {e.path for e in second.edits} and works(both):
                    found.setdefault(both.model_dump_json(), _joined(first, second))
                    break
            if len(found) >= _MOST:
                break
    if not found and (chain := _chain(settings, catalog, refusals)):
        return [chain]
    return list(found.values())[:_MOST]


def _fewer_models(settings: Settings, works: Callable[[Settings], bool]) -> Alternative | None:
    """The first models of the file, one engine each, as many of them as work; for files with many models, where single edits lead nowhere."""
    alone = tuple(m.model_copy(update={"replicas": 1}) for m in settings.models)
    kept = 0
    low, high = 1, len(alone) - 1
    while low <= high:
        middle = (low + high) // 2
        if works(settings.model_copy(update={"models": alone[:middle]})):
            kept, low = middle, middle + 1
        else:
            high = middle - 1
    if not kept:
        return None
    names = ", ".join(m.name for m in alone[:kept])
    edits = [Edit(f"models[{n}].replicas", 1) for n, m in enumerate(settings.models[:kept]) if m.replicas > 1]
    edits += [Edit(f"models[{n}]", None) for n in range(len(alone) - 1, kept - 1, -1)]
    return Alternative(f"only {names}, with one replica each", tuple(edits))


def _chain(settings: Settings, catalog: Catalog, refusals: Count) -> Alternative | None:
    """Edit after edit, each time the one that leaves the fewest refusals, until nothing is refused; None where that leads nowhere."""
    texts: list[str] = []
    edits: dict[str, Edit] = {}
    left = refusals(settings)
    for _ in range(_LONGEST_CHAIN):
        offers = list(bold_edits(settings, catalog))
        count, step = _best(offers, refusals, left)
        if step is None:  # two edits may help where neither does alone
            pairs = [
                (_joined(first, second), both)
                for first, changed in offers
                for second, both in bold_edits(changed, catalog)
                if not {e.path for e in first.edits} & {e.path for e in second.edits}
            ]
            count, step = _best(pairs[:_MOST_PAIRS_TRIED], refusals, left)
        if step is None:
            return None
        offer, settings = step
        texts, left = [*texts, offer.text], count
        edits |= {e.path: e for e in offer.edits}
        if left == 0:
            return Alternative(", and ".join(texts), tuple(edits.values()))
    return None


def _best(offers: Sequence[Offer], refusals: Count, left: int) -> tuple[int, Offer | None]:
    """The first offer with the fewest refusals, if these are fewer than `left`."""
    best: tuple[int, Offer | None] = (left, None)
    for offer in offers:
        count = refusals(offer[1])
        if count < best[0]:
            best = count, offer
        if count == 0:
            break
    return best


def _joined(first: Alternative, second: Alternative) -> Alternative:
    return Alternative(f"{first.text}, and {second.text}", (*first.edits, *second.edits))
