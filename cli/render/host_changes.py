"""The changes to the machine that a plan asks for, as people read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cli.output import print_wrapped

if TYPE_CHECKING:
    from rich.console import Console

    from stacks.plan import Plan


_INDENT = 18


def print_host_changes(out: Console, plan: Plan) -> None:
    """Every change in the order of `up`: whether it needs root, its command if it has one, and what to know of it."""
    consent = "`up` asks first" if plan.consent == "ask" else "without asking: hostChanges is allow"
    out.print(f"[bold]Changes to this machine[/]  [dim]({consent})[/]")
    for change in plan.host_changes:
        print_wrapped(out, change.what, indent=_INDENT, first=f"  {'root' if change.root else 'user'}  {change.kind}")
        if change.command:
            _print_command(out, change.command)
        if change.note:
            print_wrapped(out, change.note, indent=_INDENT, style="yellow")
    out.print()


def _print_command(out: Console, command: str) -> None:
    """A command as it can be typed; a variable and an option a line where it is too long for one."""
    long = len(command) + _INDENT + 2 > out.width
    pieces = re.sub(r"^([A-Z_]+=\S+) | (?=--)", r"\1\n", command).split("\n") if long else [command]
    for number, piece in enumerate(pieces):
        mark, end = ("$ " if number == 0 else "    "), (" \\" if number < len(pieces) - 1 else "")
        out.print(f"{'':{_INDENT}}{mark}{piece}{end}", markup=False, style="dim", soft_wrap=True)
