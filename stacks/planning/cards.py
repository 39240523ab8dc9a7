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
    over.
    """

    name: str
    replica: int
    fixed: float
    kv_least: float
    kv_useful: float
    priority: int = 1
    kv_exact: float | None = None

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


def place(needs: Sequence[Need], *, cards: int, free: float, shared: bool) -> Placement:
    """Puts every engine on one of `cards` equal cards with `free` GiB each; the largest start first, because loading
    peaks highest.

    Engines spread over cards where they can, since engines of one card share its compute. Deterministic for equal
    input.
    """
    ordered = sorted(needs, key=lambda n: (-n.priority, -n.least, n.name, n.replica))
    seats = _spread(ordered, cards, free, shared) or (_packed(ordered, cards, free) if shared else None)
    if seats is None:
        seats, unplaced = _as_many_as_fit(ordered, cards, free, shared)
    else:
        unplaced = []
    return Placement(tuple(Card(i, free, _shares(mine, free)) for i, mine in enumerate(seats)), tuple(unplaced))


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
        fitting = [i for i in range(cards) if left[i] + _EPSILON >= need.least and (shared or not seats[i])]
        if not fitting:
            unplaced.append(need)
            continue
        best = min(fitting, key=lambda i: (len(seats[i]), -left[i], i))
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


def _shares(needs: Sequence[Need], free: float) -> tuple[Share, ...]:
    """What is left goes to KV caches by priority: up to the useful size first, and only then beyond it."""
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
