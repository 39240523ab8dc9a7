"""Which entry of the catalogue a card is: by its name and its memory, or the nearest that promises no more."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stacks.catalog import Catalog, Gpu
from stacks.errors import ProposalError
from stacks.found_machine import FoundCard
from stacks.planning.gpus.product import distinctive_words

_SAID = re.compile(r"[a-z0-9]+")
_LEAST_SHARE, _MOST_SHARE = 0.90, 1.03
"""What drivers report of the size on the box: 46068 of 49152 MiB on an L40 with ECC (0.937), 24564 of 24576 on an RTX
4090; Linux on a Jetson Orin 32GB 0.936 of it."""


@dataclass(frozen=True)
class CardMatch:
    """`name` is the catalogue's; `exact`: it is this card. `reason` says how it was found."""

    name: str
    exact: bool
    reason: str


def match(card: FoundCard, catalog: Catalog, *, platform: str, unified_mib: int | None = None) -> CardMatch:
    """The entry of `card`; `unified_mib` is the machine's RAM where the card shares it. Raises ProposalError where the
    catalogue has none that it could be planned as.
    """
    size = (card.total_mib if unified_mib is None else unified_mib) or 0
    named = [
        name
        for name, gpu in catalog.gpus.items()
        if gpu.unified_memory == (unified_mib is not None) and _same(card.name, gpu) and _holds(size, gpu)
    ]
    if named:
        best = min(named, key=lambda name: _distance(card.name, size, catalog.gpus[name]))
        return CardMatch(best, True, f"{card.name}, {size / 1024:.1f} GiB")
    return _nearest(card, size, catalog, platform, unified=unified_mib is not None)


def _nearest(card: FoundCard, size: int, catalog: Catalog, platform: str, *, unified: bool) -> CardMatch:
    """The largest entry of the same compute capability that has no more memory than the card."""
    fitting = [
        (gpu.memory[platform].value, -gpu.bandwidth_gbs.value, name)
        for name, gpu in catalog.gpus.items()
        if platform in gpu.memory
        and gpu.capability == card.capability
        and gpu.unified_memory == unified
        and gpu.memory[platform].value <= size / 1024
    ]
    if not fitting:
        known = ".".join(map(str, card.capability)) if card.capability else "unknown"
        raise ProposalError(
            f"the catalogue has no {card.name} ({size / 1024:.1f} GiB, compute capability {known}), and no card of "
            "that capability with as little memory that it could be planned as",
            remedy="./lab gpus lists the cards; docs/extending.md says how to add one; for the processors: --cpu",
        )
    _, _, name = max(fitting)
    reason = (
        f"the catalogue has no {card.name}: planned as {catalog.gpus[name].name}, which has the same compute "
        "capability and no more memory; speeds are that card's"
    )
    return CardMatch(name, False, reason)


def _same(said: str, gpu: Gpu) -> bool:
    found, known = set(distinctive_words(said)), set(distinctive_words(gpu.name))
    return found == known or (gpu.unified_memory and bool(found) and found <= known)


def _holds(size: int, gpu: Gpu) -> bool:
    return _LEAST_SHARE <= size / 1024 / gpu.nominal_gib.value <= _MOST_SHARE


def _distance(said: str, size: int, gpu: Gpu) -> tuple[float, int, int]:
    """Nearest in size first, then the name with the most words in common and the fewest others."""
    ours, theirs = set(_SAID.findall(said.lower())), set(_SAID.findall(gpu.name.lower()))
    return abs(size / 1024 - gpu.nominal_gib.value), -len(ours & theirs), len(theirs - ours)
