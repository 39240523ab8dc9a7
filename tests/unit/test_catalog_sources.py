"""How many numbers of the catalogue were measured, specified or estimated: the table in research/README.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = ("models", "hardware", "mig", "compatibility", "images")
KINDS = ("measured", "specification", "estimated")


def _sources(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if "kind" in part and "ref" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _sources(inner)


def _counted(file: str) -> Counter[str]:
    found = list(_sources(yaml.safe_load((ROOT / "stacks" / "catalog" / f"{file}.yaml").read_text(encoding="utf-8"))))
    counts = Counter(source["kind"] for source in found)
    counts["from memory"] = sum("from memory" in source["ref"] for source in found)
    counts["computed"] = sum(source["ref"].startswith("computed") for source in found)
    return counts


def test_the_table_of_sources_is_the_catalogue_s() -> None:
    text = (ROOT / "research" / "README.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): [int(n) for n in re.findall(r"[0-9]+", line)] for line in text.splitlines()
            if line.startswith("| ") and line.split("|")[1].strip().removesuffix(".yaml") in FILES}  # fmt: skip
    wanted = {}
    for file in FILES:
        counts = _counted(file)
        wanted[f"{file}.yaml"] = [*(counts[kind] for kind in KINDS), counts["computed"], counts["from memory"]]
    assert rows == wanted


def test_what_is_from_memory_is_estimated() -> None:
    for file in FILES:
        for source in _sources(
            yaml.safe_load((ROOT / "stacks" / "catalog" / f"{file}.yaml").read_text(encoding="utf-8"))
        ):
            assert source["kind"] == "estimated" or "from memory" not in source["ref"], source
