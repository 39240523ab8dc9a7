"""The calibration rows: what public logs printed of starts of vLLM 0.10.2 and newer, in figures.

observations.jsonl has one start a line:

  id, source   rows of one source are of one machine; the source is a repository and issue number, or public-log and its
               number
  network      a key of networks.json, which holds config.json files
  input        as in research/cases.py
  corrected    inputs that the printed figures contradict, and that are not what the log's defaults would make them
  warm_compile_cache   the printed activation shows that torch.compile's cache was there
  observed     GiB of one card
  use          the fields of `observed` that count; the others are information only
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from research import cases
from stacks.planning.engines.vllm.memory import EngineRun, predict
from stacks.planning.engines.vllm.memory.band import band_parts
from stacks.planning.engines.vllm.memory.parts import parts_of
from stacks.planning.engines.vllm.memory.resolved import resolve

_FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Observation:
    """One start. `kv_gib` and `started` are None where they do not count; `warm`: the printed activation is less than a
    cold torch.compile takes, which no prediction may know, but who learns from a start does.
    """

    identifier: str
    source: str
    run: EngineRun
    kv_gib: float | None
    started: bool | None
    weights_gib: float | None
    needed_gib: float | None
    activation_gib: float | None
    warm: bool


def observation(row: dict[str, Any], config: dict[str, Any]) -> Observation | None:
    """The observation of a line; None for a version or a network that the predictor does not know."""
    case = cases.read({"id": row["id"], "input": {**row["input"], "hf_config": config}})
    if case.run is None:
        return None
    seen, use = row["observed"], row["use"]
    counts = "kv_avail_gib" in use and case.run.total_gib is not None
    return Observation(
        identifier=row["id"],
        source=row["source"],
        run=case.run,
        kv_gib=seen.get("kv_avail_gib") if counts else None,
        started=seen["outcome"] == "ok" if "outcome" in use else None,
        weights_gib=seen.get("weights_gib") if "weights_gib" in use else None,
        needed_gib=seen.get("kv_needed_gib") if "kv_needed_gib" in use else None,
        activation_gib=seen.get("activation_gib"),
        warm=bool(row.get("warm_compile_cache")),
    )


@cache
def observations() -> tuple[Observation, ...]:
    """Every row of observations.jsonl, in its order."""
    networks = json.loads((_FOLDER / "networks.json").read_text(encoding="utf-8"))
    lines = (_FOLDER / "observations.jsonl").read_text(encoding="utf-8").splitlines()
    rows = (json.loads(line) for line in lines)
    found = (observation(row, networks[row["network"]]) for row in rows)
    return tuple(one for one in found if one is not None)


def forget() -> None:
    """Drops what was remembered under other constants."""
    for remembered in (predict, parts_of, resolve, band_parts):
        remembered.cache_clear()
