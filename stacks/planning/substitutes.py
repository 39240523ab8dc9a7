"""Models of the catalogue that could stand in for another one: quantized ones of its family first, then the next ones
down; only of the same use.
"""

from __future__ import annotations

from collections.abc import Iterator

from stacks.catalog import Catalog

_MOST = 6


def substitutes(name: str, kind: str, catalog: Catalog) -> list[str]:
    """Up to six smaller models for a machine of `kind` (nvidia or cpu), the nearest first.

    Nearest is the same family in fewer bytes, then what the catalogue calls `smaller` and that one's family, and so on
    down; where that chain ends, or leads to another use, the largest of the same use. A model for code is never
    replaced by one for talk, one that sees images by one that does not, nor one for embeddings by another kind.
    """
    device, wanted = "cuda" if kind == "nvidia" else "cpu", catalog.model(name)
    found: list[str] = []
    for other in _down(name, catalog):
        model = catalog.model(other)
        smaller = model.weights_gib.value < wanted.weights_gib.value
        if other not in (name, *found) and smaller and device in model.devices and model.use == wanted.use:
            found.append(other)
    return found[:_MOST]


def _down(name: str, catalog: Catalog) -> Iterator[str]:
    """The chain of families from `name` down, the heaviest of each first; then every other model, likewise."""
    seen: set[str] = set()
    here: str | None = name
    while here is not None and here in catalog.models and here not in seen:
        seen.add(here)
        model = catalog.model(here)
        if here != name:
            yield here
        yield from _by_weight([n for n in catalog.models if catalog.models[n].family == model.family], catalog)
        here = model.smaller
    yield from _by_weight(list(catalog.models), catalog)


def _by_weight(names: list[str], catalog: Catalog) -> list[str]:
    return sorted(names, key=lambda n: (-catalog.model(n).weights_gib.value, n))
