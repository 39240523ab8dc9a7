"""`lab plan`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.bar import Bar
from rich.table import Table

from cli.host_changes import print_host_changes
from cli.load import load_plan
from cli.output import console, error_document, print_json
from cli.plan_bars import budget_text, card_segments, card_title, model_rows
from stacks.errors import LabError, Problem, SettingsError
from stacks.stack_file import stack_names

if TYPE_CHECKING:
    from rich.console import Console

    from stacks.planning.plan import Decision, Plan

_STYLES = {
    "desktop": "blue", "context": "blue", "weights": "magenta", "work": "yellow", "band": "red", "kv": "green", "unused": "bright_black",
}  # fmt: skip
_KINDS = {"stated": "cyan", "derived": "green", "default": "dim", "degraded": "yellow"}
_CELLS = 60


def run(root: Path, stack: str | None, *, as_json: bool, svg: Path | None, manifests: Path | None = None) -> None:
    """Prints the plan of one stack, or of every stack; exit code 2 where one of them cannot work."""
    wanted = [stack] if stack else stack_names(root)
    if not wanted:
        raise LabError("there is no stack file here", remedy="write Pulumi.STACK.yaml; see README.md")
    for option, path, what in (("--svg", svg, "draws one plan"), ("--manifests", manifests, "writes one stack")):
        if path is not None and len(wanted) != 1:
            remedy = f"name the stack: ./lab plan {wanted[0]} {option} {path}"
            raise SettingsError([Problem("command line", option, f"it {what}", remedy)])
    plans: dict[str, Plan | LabError] = {}
    for name in wanted:
        try:
            # Objects are written only of a plan that the program takes, and it takes none that shares a card.
            plans[name] = load_plan(root, name, sharing_layer=manifests is None)[1]
        except LabError as error:
            if stack:
                raise
            plans[name] = error
    if svg is not None:
        _write_svg(svg, _worked(plans[wanted[0]]))
    if manifests is not None:
        _write_manifests(manifests, _worked(plans[wanted[0]]))
    if as_json:
        documents = {name: _document(plan) for name, plan in plans.items()}
        print_json(documents[stack] if stack else documents)
    else:
        _show_all(plans)
    if any(isinstance(p, LabError) for p in plans.values()):
        sys.exit(2)


def _document(plan: Plan | LabError) -> Any:
    return {"error": error_document(plan)} if isinstance(plan, LabError) else json.loads(plan.to_json())


def _show_all(plans: Mapping[str, Plan | LabError]) -> None:
    for name, plan in plans.items():
        if isinstance(plan, LabError):
            console().print(f"[bold red]{name}[/]")
            console().print(f"{plan}\n", markup=False)
        else:
            show(console(), plan)


def _worked(plan: Plan | LabError) -> Plan:
    if isinstance(plan, LabError):
        raise plan
    return plan


def _write_manifests(folder: Path, plan: Plan) -> None:
    from cli.manifests import write

    console(stderr=True).print(f"wrote {len(write(plan, folder))} manifests into {folder}", markup=False)


def _write_svg(path: Path, plan: Plan) -> None:
    from cli.plan_svg import plan_svg

    try:
        path.write_text(plan_svg(plan), encoding="utf-8")
    except OSError as error:
        problem = Problem("command line", "--svg", f"{path} cannot be written: {error.strerror}", "name a file in a folder that exists")
        raise SettingsError([problem]) from None


def show(out: Console, plan: Plan) -> None:
    """One plan: cards, budgets, models, every decision with its reason, and what it would do to the machine."""
    out.print(f"[bold]{plan.stack}[/]  [dim]plan {plan.digest}[/]\n")
    for card in plan.cards:
        out.print(f"[bold]{card_title(plan, card)}[/]", markup=True)
        table, begin = Table.grid(padding=(0, 1)), 0.0
        for segment in card_segments(plan, card):
            bar = Bar(card.total_gib, begin, begin + segment.gib, width=_CELLS, color=_STYLES[segment.kind])
            table.add_row(f"  {segment.label}", f"{segment.gib:5.2f}", bar)
            begin += segment.gib
        out.print(table)
        out.print()
    out.print("[bold]Budgets[/]")
    table = Table.grid(padding=(0, 1))
    for budget in plan.budgets:
        used: Bar | str = Bar(budget.have, 0, budget.need, width=_CELLS, color="green") if budget.have else ""
        table.add_row(f"  {budget.name}", budget_text(budget), used)
    out.print(table)
    out.print()
    header, *rows = model_rows(plan)
    table = Table(*header, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*row)
    out.print(table)
    if any(model.estimate for model in plan.models):
        out.print("[dim]at most: bandwidth / bytes that one step must read (stacks/planning/roofline.py); real engines stay below it[/]")
    out.print()
    show_decisions(out, plan.all_decisions())
    out.print()
    print_host_changes(out, plan)


def show_decisions(out: Console, decisions: tuple[Decision, ...]) -> None:
    """Every setting and why."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("setting", "value", "", "reason"):
        table.add_column(column, overflow="fold", style="dim" if column == "reason" else "")
    for d in decisions:
        value = d.value if len(d.value) <= 44 else f"{d.value[:41]}..."
        table.add_row(d.name, value, f"[{_KINDS[d.kind]}]{d.kind}[/]", f"{d.reason} [{d.source}]".replace("[", r"\["))
    out.print(table)
