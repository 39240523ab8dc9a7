"""The constants of stacks/catalog/engine_memory.yaml: those fitted name the rows that they rest on, the others where
they were read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from stacks.errors import CatalogError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a source build of PyYAML may lack libyaml; reading is only slower then
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

_FILE = Path(__file__).resolve().parents[4] / "catalog" / "engine_memory.yaml"


@dataclass(frozen=True)
class Constant:
    """`rows`: ids in research/observations.jsonl that a fitted value rests on; none where `source` is a file of vLLM, a
    format or a specification.
    """

    value: float
    source: str
    rows: tuple[str, ...] = ()


@cache
def described() -> dict[str, Constant]:
    """Every constant by its path. Raises CatalogError for one without a value and a source."""
    found = {}
    for group, facts in yaml.load(_FILE.read_text(encoding="utf-8"), Loader=_Loader).items():
        for name, fact in facts.items():
            if not {"value", "source"} <= set(fact) <= {"value", "source", "rows"} or not str(fact["source"]):
                raise CatalogError(
                    f"{_FILE.name}: {group}.{name} needs a value and a source",
                    remedy="restore stacks/catalog/ from git",
                )
            found[f"{group}.{name}"] = Constant(float(fact["value"]), str(fact["source"]), tuple(fact.get("rows", ())))
    return found


@cache
def all_constants() -> dict[str, float]:
    """Every value by its path; changing the map changes what `constant` answers, which the calibration uses."""
    return {path: fact.value for path, fact in described().items()}


def constant(path: str) -> float:
    """The constant at `path`, for example "sampler.sortBytes". Raises KeyError for one that does not exist (a bug)."""
    return all_constants()[path]
