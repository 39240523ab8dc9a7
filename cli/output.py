"""How commands print: rich on a terminal, plain text in a pipe, JSON when asked."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from rich.console import Console

from stacks.errors import LabError, PlanError, SettingsError

MARKS = {"create": ("+", "green"), "update": ("~", "yellow"), "replace": ("±", "magenta"), "delete": ("-", "red"), "same": ("=", "dim")}


def console(*, stderr: bool = False) -> Console:
    """A console that takes our text as it is: type tokens hold colons, which rich would read as emoji."""
    width = None if (sys.stderr if stderr else sys.stdout).isatty() else 160
    return Console(stderr=stderr, emoji=False, highlight=False, width=width, soft_wrap=width is not None)


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
        out.print(str(error), markup=False)
    sys.exit(error.exit_code)


def fail_usage(message: str) -> NoReturn:
    """A wrong command line, for machines."""
    print_json({"error": {"kind": "UsageError", "message": message, "remedy": "see --help"}})
    sys.exit(2)


def error_document(error: LabError) -> dict[str, Any]:
    """An error for machines."""
    document: dict[str, Any] = {"kind": type(error).__name__, "message": error.message, "remedy": error.remedy}
    if isinstance(error, SettingsError):
        document["problems"] = [{"file": p.file, "path": p.path, "message": p.message, "remedy": p.remedy} for p in error.problems]
    if isinstance(error, PlanError):
        document |= {"refusals": list(error.refusals), "alternatives": list(error.alternatives)}
        document["proposals"] = [{"text": p.text, "edits": [{"path": e.path, "value": e.value} for e in p.edits]} for p in error.proposals]
    return document
