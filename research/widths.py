"""How wide the band must be for each class of machines: what each of them fell short by, one vote a machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, hypot, sqrt

from research.observations import Observation
from stacks.planning.engines.vllm.memory import predict
from stacks.planning.engines.vllm.memory.band import CLASSES, band_parts, classes_of

MACHINE = ("this machine", "another model on this machine")
_SHARE = 0.94  # of machines: with 35 of them, all but the worst
_STEP = 0.01  # GiB; widths are rounded up to it


def by_source(rows: Iterable[Observation]) -> dict[str, list[Observation]]:
    found: dict[str, list[Observation]] = {}
    for row in rows:
        found.setdefault(row.source, []).append(row)
    return found


def shortfall_gib(row: Observation) -> float:
    """Predicted less printed KV cache: positive where too much was promised."""
    predicted = predict(row.run).kv_gib
    if predicted is None or row.kv_gib is None:
        raise ValueError(f"{row.identifier} has no KV cache to compare")
    return predicted - row.kv_gib


def unexplained_gib(row: Observation) -> float:
    """What of a shortfall the other parts of the band leave to the machine."""
    others = sum(width * width for name, width in band_parts(row.run) if name not in MACHINE)
    return sqrt(max(0.0, max(0.0, shortfall_gib(row)) ** 2 - others))


def machine_widths(rows: Sequence[Observation]) -> dict[str, float]:
    """GiB by class. The main ground has little else in its band, so that its worst machine sets the width (n of n + 1
    machines); every other class takes what covers _SHARE of all machines, or its own worst where that is more.
    """
    worst: dict[str, dict[str, float]] = {name: {} for name in CLASSES}
    pooled: dict[str, float] = {}
    for source, mine in by_source(row for row in rows if row.kv_gib is not None).items():
        for row in mine:
            needed = unexplained_gib(row)
            pooled[source] = max(pooled.get(source, 0.0), needed)
            for name in classes_of(row.run):
                worst[name][source] = max(worst[name].get(source, 0.0), needed)
    usual = conformal(list(pooled.values()), _SHARE)
    floor = {name: 0.0 if name == "main" else usual for name in CLASSES}
    return {name: up(max([floor[name], *worst[name].values()])) for name in CLASSES}


def conformal(needed: Sequence[float], share: float) -> float:
    """The width that covers the next of n + 1 exchangeable machines with probability `share`; the worst where n is too
    small for that.
    """
    ordered = sorted(needed)
    return ordered[min(len(ordered), ceil(share * (len(ordered) + 1))) - 1] if ordered else 0.0


def up(width: float) -> float:
    """Rounded up to a hundredth of a GiB."""
    return round(ceil(round(width / _STEP, 6)) * _STEP, 2)


def band_with(row: Observation, widths: dict[str, float]) -> float:
    """The band of a row under other machine widths."""
    others = [width for name, width in band_parts(row.run) if name not in MACHINE]
    return hypot(max(widths[name] for name in classes_of(row.run)), *others)
