"""Which engine gets which card, and how much of it: pure arithmetic over GiB (2^30).

An engine's fixed part (weights, activations, non-torch, CUDA graphs, its CUDA context, the error band) cannot be
bargained with; its KV cache has a least size (one full request) and a useful one (every request that may be admitted,
at full length).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_EXHAUSTIVE_STEPS = 20_000
_EPSILON = 1e-9


@dataclass(frozen=True)
class Need:
    """What one engine wants of a card, GiB. `kv_exact` is set where the owner pinned a share: then nothing is bargained
    over. `cards`: how many it spans (tensor parallel), each alone and as full as the others.
    """

    name: str
    replica: int
    fixed: float
    kv_least: float
    kv_useful: float
    priority: int = 1
    kv_exact: float | None = None
    cards: int = 1

    @property
    def least(self) -> float:
        """GiB without which the engine does not start."""
        return self.fixed + (self.kv_least if self.kv_exact is None else max(self.kv_exact, self.kv_least))


@dataclass(frozen=True)
class Share:
    """One engine on one card. Engines of a card start in this order, each after the one before it answers."""

    need: Need
    kv: float
    order: int

    @property
    def size(self) -> float:
        """GiB that the engine holds once it serves."""
        return self.need.fixed + self.kv


@dataclass(frozen=True)
class Card:
    """One card: GiB that engines may have, and who has them."""

    index: int
    free: float
    shares: tuple[Share, ...]

    @property
    def unused(self) -> float:
        """GiB that nobody has."""
        return self.free - sum(s.size for s in self.shares)


@dataclass(frozen=True)
class Placement:
    """All cards, and the engines that found no place (then the plan is refused)."""

    cards: tuple[Card, ...]
    unplaced: tuple[Need, ...]
    crowded: bool = False
    """Whether some engines have too little room for any others that may come to their card."""


def place(
    needs: Sequence[Need], *, cards: int, free: float, shared: bool, any_card: bool = False, most: int | None = None
) -> Placement:
    """Puts every engine on one of `cards` equal cards with `free` GiB each; the largest start first, because loading
    peaks highest.

    Engines spread over cards where they can, since engines of one card share its compute. Deterministic for equal
    input. `any_card`: somebody else picks an engine's card later, and puts `most` on one at most (default: as many as
    the fullest card has here); then KV caches grow only as far as any so many engines fit on a card.
    """
    ordered = sorted(needs, key=lambda n: (-n.cards, -n.priority, -n.least, n.name, n.replica))
    packs = shared and all(need.cards == 1 for need in needs)
    seats = _spread(ordered, cards, free, shared) or (_packed(ordered, cards, free) if packs else None)
    if seats is None:
        seats, unplaced = _as_many_as_fit(ordered, cards, free, shared)
    else:
        unplaced = []
    crowd = max(most or 0, *(len(mine) for mine in seats))
    largest = free / crowd if any_card and cards > 1 and crowd > 1 else None
    shares = [_shares(mine, free, largest) for mine in seats]
    crowded = largest is not None and any(need.least > largest + _EPSILON for mine in seats for need in mine)
    return Placement(tuple(Card(i, free, mine) for i, mine in enumerate(shares)), tuple(unplaced), crowded)


def _spread(ordered: Sequence[Need], cards: int, free: float, shared: bool) -> list[list[Need]] | None:
    seats, unplaced = _as_many_as_fit(ordered, cards, free, shared)
    return None if unplaced else seats


def _as_many_as_fit(
    ordered: Sequence[Need], cards: int, free: float, shared: bool
) -> tuple[list[list[Need]], list[Need]]:
    """Each engine on the card with the fewest engines and then the most memory left."""
    seats: list[list[Need]] = [[] for _ in range(cards)]
    left, unplaced = [free] * cards, []
    for need in ordered:
        alone = not shared or need.cards > 1
        fitting = [i for i in range(cards) if left[i] + _EPSILON >= need.least and not (alone and seats[i])]
        fitting = [i for i in fitting if not any(other.cards > 1 for other in seats[i])]
        if len(fitting) < need.cards:
            unplaced.append(need)
            continue
        for best in sorted(fitting, key=lambda i: (len(seats[i]), -left[i], i))[: need.cards]:
            seats[best].append(need)
            left[best] -= need.least
    return seats, unplaced


def _packed(ordered: Sequence[Need], cards: int, free: float) -> list[list[Need]] | None:
    """Any packing at all: depth first over the largest engines, equal cards tried once, given up after a fixed number
    of steps.
    """
    needs = sorted(ordered, key=lambda n: (-n.least, n.name, n.replica))
    seats: list[list[Need]] = [[] for _ in range(cards)]
    left, steps = [free] * cards, 0
    if sum(n.least for n in needs) > cards * free + _EPSILON:
        return None

    def fill(index: int) -> bool:
        nonlocal steps
        if index == len(needs):
            return True
        steps += 1
        tried: set[float] = set()
        for card in sorted(range(cards), key=lambda i: (left[i], i)):
            room = round(left[card], 9)
            if left[card] + _EPSILON < needs[index].least or room in tried or steps > _EXHAUSTIVE_STEPS:
                continue
            tried.add(room)
            seats[card].append(needs[index])
            left[card] -= needs[index].least
            if fill(index + 1):
                return True
            seats[card].pop()
            left[card] += needs[index].least
        return False

    return seats if len(needs) <= _MOST_SEARCHED and fill(0) else None


_MOST_SEARCHED = 400  # engines; below Python's recursion limit, above anything a stack file may say


def _shares(needs: Sequence[Need], free: float, largest: float | None) -> tuple[Share, ...]:
    """What is left goes to KV caches by priority: up to the useful size first, and only then beyond it. No engine gets
    more than `largest` in all, but what it needs at least.
    """
    if largest is not None:
        alone = [_shares([need], max(need.least, largest), None)[0] for need in needs]
        return tuple(Share(share.need, share.kv, order) for order, share in enumerate(alone))
    kv = [n.kv_least if n.kv_exact is None else n.kv_exact for n in needs]
    left = free - sum(n.fixed for n in needs) - sum(kv)
    open_to = [i for i, n in enumerate(needs) if n.kv_exact is None]
    for useful in (True, False):
        while left > _EPSILON and (
            wanting := [i for i in open_to if not useful or needs[i].kv_useful - kv[i] > _EPSILON]
        ):
            weight = sum(needs[i].priority for i in wanting)
            gift = {i: left * needs[i].priority / weight for i in wanting}
            if useful:
                gift = {i: min(g, needs[i].kv_useful - kv[i]) for i, g in gift.items()}
            for i, g in gift.items():
                kv[i] += g
            left -= sum(gift.values())
            if not useful:
                break
    return tuple(Share(need, size, order) for order, (need, size) in enumerate(zip(needs, kv, strict=True)))
