"""Models of the catalogue that could stand in for another one: quantized ones of its family first, then the next ones
down.
"""

from __future__ import annotations

from stacks.catalog import Catalog

_MOST = 6


def siblings(name: str, kind: str, catalog: Catalog) -> list[str]:
    """Up to six smaller models for a machine of `kind` (nvidia or cpu), the nearest first.

    Nearest is the same family in fewer bytes, then what the catalogue calls `smaller` and that one's family, and so on
    down.
    """
    device, seen = "cuda" if kind == "nvidia" else "cpu", {name}
    found: list[str] = []
    here: str | None = name
    while here is not None and len(found) < _MOST:
        model = catalog.model(here)
        kin = [(n, m) for n, m in catalog.models.items() if m.family == model.family and n not in seen]
        kin = [
            (n, m)
            for n, m in kin
            if m.weights_gib.value < catalog.model(name).weights_gib.value and device in m.devices
        ]
        found += [n for n, _ in sorted(kin, key=lambda pair: (-pair[1].weights_gib.value, pair[0]))]
        seen |= {n for n, _ in kin}
        below = model.smaller
        if below is None or below in seen or below not in catalog.models:
            break
        seen.add(below)
        if device in catalog.model(below).devices:
            found.append(below)
        here = below
    return found[:_MOST]
