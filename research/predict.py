"""Answers a file of cases: scripts/predict CASES.jsonl [--output FILE]."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research import cases
from stacks.errors import LabError

_MOST_LINES = 40


class CasesError(LabError):
    """A file of cases that cannot be used; names every bad line."""

    exit_code = 2


def run(path: Path, *, output: Path | None) -> None:
    """Predicts each case of a JSONL file and prints a JSON line for it; nothing is written where a line cannot be
    read.
    """
    text = "".join(json.dumps(cases.answer(cases.read(row)), ensure_ascii=False) + "\n" for row in _read(path))
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LabError(
            f"cannot write {output}: {error.strerror}", remedy="give --output a file in a folder that you may write to"
        ) from error


def _read(path: Path) -> list[dict[str, Any]]:
    """The decoded lines. Raises CasesError with every line that cannot be answered."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CasesError(f"cannot read {path}: {reason}", remedy="give a file with one JSON object a line") from error
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            wrong.append(f"line {number}: not JSON")
            continue
        found = cases.problems(row)
        if not found and row["id"] in seen:
            found = [f"the id {row['id']} stands in line {seen[row['id']]} already"]
        if found:
            wrong.append(f"line {number}: {'; '.join(found)}")
            continue
        seen[row["id"]] = number
        rows.append(row)
    if wrong:
        more = [f"and {len(wrong) - _MOST_LINES} more"] if len(wrong) > _MOST_LINES else []
        count = f"{len(wrong)} line{'s' if len(wrong) != 1 else ''} of {path} cannot be predicted"
        raise CasesError(
            "\n  ".join([f"{count}:", *wrong[:_MOST_LINES], *more]), remedy="correct these lines; nothing was written"
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/predict", description="Predict starts of vLLM, one JSON line a case."
    )
    parser.add_argument("cases", type=Path, metavar="CASES.jsonl", help="one case a line, as research/cases.py says")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the answers here instead of printing them")
    chosen = parser.parse_args(arguments)
    try:
        run(chosen.cases, output=chosen.output)
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
