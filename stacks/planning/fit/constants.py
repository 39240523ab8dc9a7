"""The fitted constants of stacks/catalog/engine_memory.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from stacks.errors import CatalogError

_FILE = Path(__file__).resolve().parents[2] / "catalog" / "engine_memory.yaml"


@cache
def _document() -> dict[str, float]:
    values = {}
    for group, facts in yaml.safe_load(_FILE.read_text(encoding="utf-8")).items():
        for name, fact in facts.items():
            if set(fact) != {"value", "source"} or not str(fact["source"]):
                raise CatalogError(
                    f"{_FILE.name}: {group}.{name} needs a value and a source",
                    remedy="restore stacks/catalog/ from git",
                )
            values[f"{group}.{name}"] = float(fact["value"])
    return values


def constant(path: str) -> float:
    """The constant at `path`, for example "sampler.sortBytes". Raises KeyError for one that does not exist (a bug)."""
    return _document()[path]


def all_constants() -> dict[str, float]:
    """Every constant by its path; changing the map changes what `constant` answers, which the cross-validation uses."""
    return _document()
