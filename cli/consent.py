"""Asking before the machine is changed."""

from __future__ import annotations

import sys

from cli.output import console
from stacks.errors import LabError


def ask(question: str, *, yes: bool, remedy: str) -> None:
    """Goes on where the person says yes, or said so before. Raises LabError (exit code 2) otherwise, and where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        error = LabError("this changes the machine, and nobody can be asked here", remedy=remedy)
        error.exit_code = 2
        raise error
    console(stderr=True).print(f"[bold]{question}[/] \\[y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        error = LabError("nothing was changed", remedy="")
        error.exit_code = 2
        raise error
