"""The nearest settings that work: single edits of the stack file, each one planned before it is offered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from stacks.catalog import Catalog
from stacks.errors import Alternative, Edit
from stacks.planning.alternative_edits import Offer, bold_edits, single_edits
from stacks.settings import Pins, Settings

_MOST = 7
_MOST_TRIED = 2500  # models planned while ways out are looked for: about two seconds
_FEW_REQUESTS = 8
_WISHES = ("replicas", "pin", "kvCacheDtype", "trustRemoteCode", "revision", "priority")
_MODEL = re.compile(r"models\[([0-9]+)\]")
_LONGEST_CHAIN = 5
_MOST_PAIRS_TRIED = 400
_MANY = 3  # models; fewer are reached by single edits
_MOST_PAIRS = 24  # second edits that are tried for a first one that does not suffice

Count = Callable[[Settings], int]


def alternatives(settings: Settings, catalog: Catalog, refusals: Count) -> list[Alternative]:
    """Up to seven edits, each of which makes the plan work on its own; pairs of edits where no single one does, else one chain of them.

    `refusals` plans settings and counts what is refused.
    """

    tried = 0

    def counted(changed: Settings) -> int:
        nonlocal tried
        tried += max(1, len(changed.models))
        if tried > _MOST_TRIED:  # a count and no clock, so that the same file gets the same answer on every machine
            return _MOST_TRIED
        return refusals(changed)

    def works(changed: Settings) -> bool:
        return counted(changed) == 0

    fewer = (
        _fewer_models(settings, works) if len(settings.models) >= _MANY else None
    )  # before the search has used up its tries
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
    if not found and (last := _chain(settings, catalog, counted) or _one_model(settings, catalog, refusals)):
        return [last]
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
    sum_up: Alternative | None = None
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
        sum_up, left = offer if sum_up is None else _joined(sum_up, offer), count
        if left == 0:
            return sum_up
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
    """Both, in the numbers of the file before either: what `first` takes out of the list moves the numbers that `second` was made with."""
    gone = sorted(
        int(found.group(1)) for edit in first.edits if edit.value is None and (found := _MODEL.fullmatch(edit.path))
    )

    def moved(found: re.Match[str]) -> str:
        number = int(found.group(1))
        for taken in gone:
            number += number >= taken
        return f"models[{number}]"

    edits = tuple(Edit(_MODEL.sub(moved, e.path), e.value) for e in second.edits)
    return Alternative(f"{first.text}, and {_MODEL.sub(moved, second.text)}", (*first.edits, *edits))


def _one_model(settings: Settings, catalog: Catalog, refusals: Count) -> Alternative | None:
    """The last resort: the first model alone and without wishes, in the largest form of its kind that works at the longest context."""
    model = settings.models[0]
    device, task = "cuda" if settings.machine.kind == "nvidia" else "cpu", catalog.model(model.model).task
    kin = [(n, m) for n, m in catalog.models.items() if m.task == task and device in m.devices]
    kin.sort(key=lambda pair: (-pair[1].weights_gib.value, pair[0]))
    plain = {
        "replicas": 1,
        "pin": Pins(),
        "kv_cache_dtype": "auto",
        "trust_remote_code": False,
        "revision": None,
        "priority": 1,
    }
    requests = min(model.concurrent_requests, _FEW_REQUESTS)
    for context in dict.fromkeys(min(model.context_tokens, tokens) for tokens in (model.context_tokens, 4096, 2048)):
        for name, _ in kin:
            changed = model.model_copy(
                update={**plain, "model": name, "context_tokens": context, "concurrent_requests": requests}
            )
            if refusals(settings.model_copy(update={"models": (changed,)})) == 0:
                edits = [
                    Edit("models[0].model", name),
                    Edit("models[0].contextTokens", context),
                    Edit("models[0].concurrentRequests", requests),
                ]
                edits += [Edit(f"models[0].{key}", None) for key in _WISHES]
                edits += [Edit(f"models[{n}]", None) for n in range(len(settings.models) - 1, 0, -1)]
                rest = ", without the other models" if len(settings.models) > 1 else ""
                return Alternative(
                    f"models[0]: {name} with {context} tokens, one replica, nothing pinned{rest}", tuple(edits)
                )
    return None
