"""The changes to the machine that a plan asks for, as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from stacks.planning.plan import Plan


def print_host_changes(out: Console, plan: Plan) -> None:
    """Every change in the order of `up`: whether it needs root, its command if it has one, and what to know of it."""
    consent = "it asks first" if plan.consent == "ask" else "without asking: hostChanges is allow"
    out.print(f"[bold]What `up` would do to this machine[/]  [dim]({consent})[/]")
    for change in plan.host_changes:
        out.print(f"  {'root' if change.root else 'user'}  {change.kind:8}  {change.what}", markup=False)
        if change.command:
            out.print(f"                  $ {change.command}", markup=False, style="dim")
        if change.note:
            out.print(f"                  {change.note}", markup=False, style="yellow")
    out.print()
