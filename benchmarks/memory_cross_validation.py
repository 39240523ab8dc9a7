"""Refits the fitted constants of the memory predictor without one source at a time, and scores the source that was left
out.

    python -m benchmarks.memory_cross_validation CASES.jsonl

A fit is the choice, for each constant in turn, of the factor from FACTORS that makes the sum of the absolute errors of
the KV cache (GiB, each capped, plus a pull towards the shipped value) smallest on the other sources. What is printed:
the held-out error of the KV cache and of the outcome with refitted constants, the same with the shipped ones, and how
far each constant moved over all folds.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stacks.planning.fit import cases, predict
from stacks.planning.fit.constants import all_constants
from stacks.planning.fit.parts import parts_of
from stacks.planning.fit.resolved import resolve

FACTORS = (0.4, 0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
FITTED = ("sampler.", "forward.hidden", "forward.encoder", "nonTorch.", "graphs.", "context.")
CAP_GIB = 1.0  # an error beyond this is an unexplained run, and must not drag a constant along
_CASES: dict[str, cases.Case] = {}
PULL_GIB = 0.02  # what it costs to leave the shipped value, so that constants without rows stay where they are


def forget() -> None:
    """Drops what was remembered under other constants."""
    for remembered in (predict, parts_of, resolve):
        remembered.cache_clear()


def case_of(row: dict[str, Any]) -> cases.Case:
    """The case of a row, read once."""
    if row["id"] not in _CASES:
        _CASES[row["id"]] = cases.read(row)
    return _CASES[row["id"]]


def errors(rows: list[dict[str, Any]]) -> list[float]:
    """Signed errors of the KV cache in GiB."""
    found = []
    for row in rows:
        run = case_of(row).run
        kv = None if run is None else predict(run).kv_gib
        if kv is not None:
            found.append(kv - row["observed"]["kv_avail_gib"])
    return found


def loss(rows: list[dict[str, Any]]) -> float:
    """What a fit makes small."""
    forget()
    return sum(min(abs(error), CAP_GIB) for error in errors(rows))


def fit(rows: list[dict[str, Any]], shipped: dict[str, float]) -> None:
    """Sets the constants to their best factors on `rows`, one after another, twice round."""
    values = all_constants()
    for _ in range(2):
        for name, given in shipped.items():
            tried = {}
            for factor in FACTORS:
                values[name] = given * factor
                tried[values[name]] = loss(rows) + PULL_GIB * (factor != 1.0)
            values[name] = min(tried, key=lambda value: tried[value])


def outcomes(rows: list[dict[str, Any]]) -> list[tuple[bool, bool]]:
    """(said it fits, really started) of the rows whose outcome counts."""
    forget()
    answers = [
        (cases.answer(case_of(row))["fits"], row["observed"]["outcome"] == "ok")
        for row in rows
        if "outcome" in row["use"]
    ]
    return [(bool(said), ran) for said, ran in answers]


def summary(label: str, pairs: list[tuple[float, float]], said: list[tuple[bool, bool]]) -> str:
    """One line; `pairs` are (error, observed) in GiB."""
    shares = [100 * abs(error) / observed for error, observed in pairs if observed > 0.3]
    right = sum(a == b for a, b in said)
    dangerous = sum(a and not b for a, b in said)
    return (
        f"{label}: KV median |e| {statistics.median(shares):.2f} %, {statistics.median(abs(e) for e, _ in pairs):.3f} GiB; within 10 %: "
        f"{sum(s <= 10 for s in shares)}/{len(shares)}; outcome {right}/{len(said)}, dangerous {dangerous}"
    )


def main(path: Path, show: Callable[[str], object] = print) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    engines = [row for row in rows if row["kind"] == "engine"]
    scored = [row for row in engines if "kv_avail_gib" in row["use"] and row["input"]["gpu_total_gib"]]
    shipped = {name: value for name, value in all_constants().items() if name.startswith(FITTED)}
    moved: dict[str, list[float]] = {name: [] for name in shipped}
    pairs: list[tuple[float, float]] = []
    said: list[tuple[bool, bool]] = []
    for source in sorted({row["source"] for row in engines}):
        left_out = [row for row in engines if row["source"] == source]
        if not any("outcome" in row["use"] or row in scored for row in left_out):
            continue
        fit([row for row in scored if row["source"] != source], shipped)
        held = [row for row in left_out if row in scored]
        forget()
        pairs += list(zip(errors(held), [row["observed"]["kv_avail_gib"] for row in held], strict=True))
        said += outcomes(left_out)
        for name, given in shipped.items():
            moved[name].append(all_constants()[name] / given)
        all_constants().update(shipped)
    forget()
    show(summary("held out", pairs, said))
    again = list(zip(errors(scored), [row["observed"]["kv_avail_gib"] for row in scored], strict=True))
    show(summary("shipped ", again, outcomes(engines)))
    show("constants, smallest and largest factor over the folds:")
    for name, factors in moved.items():
        show(f"  {name:34s} {min(factors):.2f} .. {max(factors):.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
