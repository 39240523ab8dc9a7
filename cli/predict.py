"""`lab predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stacks.errors import LabError
from stacks.planning.fit import cases

_MOST_LINES = 40


def run(path: Path, *, output: Path | None) -> None:
    """Predicts each case of a JSONL file and prints a JSON line for it; nothing is written where a line cannot be read."""
    rows = _read(path)
    text = "".join(json.dumps(cases.answer(cases.read(row)), ensure_ascii=False) + "\n" for row in rows)
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


class CasesError(LabError):
    """A file of cases that cannot be used; names every bad line."""

    exit_code = 2
