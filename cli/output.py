"""How commands print: rich on a terminal, plain text in a pipe, JSON when asked."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stacks.errors import LabError, PlanError, SettingsError

_PIPE = 160  # columns where nobody says how many there are
_NARROWEST = 40
_GAP, _LEAST_LAST = 2, 14  # columns between two of a table, and the least that its last may be folded to
MARKS = {
    "create": ("+", "green"),
    "update": ("~", "yellow"),
    "replace": ("±", "magenta"),
    "delete": ("-", "red"),
    "same": ("=", "dim"),
}


class _Console(Console):
    """rich ends with 1 where the reader of a pipe has seen enough, as in `lab gpus | head`; that is no error."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0)


def console(*, stderr: bool = False) -> Console:
    """A console that takes our text as it is: type tokens hold colons, which rich would read as emoji."""
    columns = os.environ.get("COLUMNS", "")
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = max(_NARROWEST, int(columns)) if columns.isdecimal() else None if terminal else _PIPE
    return _Console(stderr=stderr, emoji=False, highlight=False, width=width, soft_wrap=not terminal)


def print_wrapped(out: Console, text: str, *, indent: int, style: str = "", first: str = "") -> None:
    """A paragraph with a hanging indent, `first` in front of its first line; a pipe that is wide enough gets one
    line.
    """
    lines = textwrap.wrap(
        text,
        max(out.width, indent + 20),
        initial_indent=first.ljust(indent),
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
    for line in lines:
        out.print(line, markup=False, style=style, soft_wrap=True)


def print_lines(out: Console, text: str, *, taken: int = 0) -> None:
    """Lines with a hanging indent of their own, folded where somebody said how wide it is; `taken` columns of the first
    line are used already. A pipe gets them whole, for grep.
    """
    folds = out.is_terminal or os.environ.get("COLUMNS", "").isdecimal()
    for number, line in enumerate(text.splitlines() or [""]):
        used = taken if number == 0 else 0
        if not folds or len(line) + used <= out.width:
            out.print(line, markup=False, soft_wrap=True)
            continue
        indent = len(line) - len(line.lstrip()) + (3 if line.lstrip().startswith(("-> ", "1. ", "2. ", "3. ")) else 0)
        for part in textwrap.wrap(
            line, max(out.width - used, _NARROWEST), subsequent_indent=" " * indent, break_on_hyphens=False,
            break_long_words=False, drop_whitespace=True,
        ):  # fmt: skip
            out.print(part, markup=False, soft_wrap=True)


def print_table(out: Console, table: Table) -> None:
    """A table whose last column alone may fold; where the others leave it no room each row becomes a block under its
    first cell.

    In a pipe the blanks that fill the last column are left out.
    """
    *others, last = table.columns
    taken = sum(max(len(_plain(text)) for text in (column.header, *column.cells)) + _GAP for column in others)
    if taken + min(_LEAST_LAST, max(len(_plain(text)) for text in (last.header, *last.cells))) > out.width:
        _print_blocks(out, table)
        return
    for column in others:
        column.no_wrap = True
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        out.print(line.rstrip(), markup=False, soft_wrap=True)


def _print_blocks(out: Console, table: Table) -> None:
    titles = [_plain(column.header) for column in table.columns]
    if table.title:
        print_wrapped(out, _plain(table.title), indent=0, style="bold")
    for row in zip(*(map(_plain, column.cells) for column in table.columns), strict=True):
        out.print(row[0], markup=False, style="bold", soft_wrap=True)
        facts = [f"{title} {text}".strip() for title, text in zip(titles[1:], row[1:], strict=True) if text]
        print_wrapped(out, ", ".join(facts), indent=4)


def _plain(cell: Any) -> str:
    return (
        " ".join(Text.from_markup(cell).plain.split())
        if isinstance(cell, str)
        else cell.plain
        if isinstance(cell, Text)
        else ""
    )


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def fail(error: LabError, *, as_json: bool) -> NoReturn:
    """Prints the error and exits with its code."""
    if as_json:
        print_json({"error": error_document(error)})
    else:
        out = console(stderr=True)
        out.print("[bold red]error:[/] ", end="")
        print_lines(out, str(error), taken=len("error: "))
    sys.exit(error.exit_code)


def fail_usage(message: str) -> NoReturn:
    """A wrong command line, for machines."""
    print_json({"error": {"kind": "UsageError", "message": message, "remedy": "see --help"}})
    sys.exit(2)


def error_document(error: LabError) -> dict[str, Any]:
    """An error for machines."""
    document: dict[str, Any] = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
    if isinstance(error, SettingsError):
        document["problems"] = [
            {"file": p.file, "path": p.path, "message": p.message, "remedy": p.remedy} for p in error.problems
        ]
    if isinstance(error, PlanError):
        document |= {"refusals": list(error.refusals), "alternatives": list(error.alternatives)}
        document["proposals"] = [
            {"text": p.text, "edits": [{"path": e.path, "value": e.value} for e in p.edits]} for p in error.proposals
        ]
    return document
