"""`lab plan`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.deployed import not_implemented
from cli.load import load_plan
from cli.output import console, error_document, print_json, print_lines, print_wrapped
from cli.render.host_changes import print_host_changes
from cli.render.terminal import print_budgets, print_cards, print_decisions, print_models
from stacks.errors import LabError, Problem, SettingsError
from stacks.planning.clusters import deployable
from stacks.settings.stack_file import stack_names

if TYPE_CHECKING:
    from rich.console import Console

    from stacks.plan import Plan


def run(
    root: Path,
    stack: str | None,
    *,
    as_json: bool,
    svg: Path | None = None,
    manifests: Path | None = None,
    why: bool = False,
    sources: bool = False,
) -> None:
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
            plans[name] = load_plan(root, name)[1]
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
        _show_all(plans, why=why, sources=sources)
    if any(isinstance(p, LabError) for p in plans.values()):
        sys.exit(2)


def _document(plan: Plan | LabError) -> Any:
    return {"error": error_document(plan)} if isinstance(plan, LabError) else json.loads(plan.to_json())


def _show_all(plans: Mapping[str, Plan | LabError], *, why: bool, sources: bool) -> None:
    for name, plan in plans.items():
        if isinstance(plan, LabError):
            console().print(f"[bold red]{name}[/]")
            print_lines(console(), f"{plan}\n")
        else:
            show(console(), plan, why=why, sources=sources)


def _worked(plan: Plan | LabError) -> Plan:
    if isinstance(plan, LabError):
        raise plan
    return plan


def _write_manifests(folder: Path, plan: Plan) -> None:
    from cli.commands.manifests import write

    console(stderr=True).print(f"wrote {len(write(plan, folder))} manifests into {folder}", markup=False)


def _write_svg(path: Path, plan: Plan) -> None:
    from cli.render.svg import plan_svg

    try:
        path.write_text(plan_svg(plan), encoding="utf-8")
    except OSError as error:
        problem = Problem(
            "command line",
            "--svg",
            f"{path} cannot be written: {error.strerror}",
            "name a file in a folder that exists",
        )
        raise SettingsError([problem]) from None


def show(out: Console, plan: Plan, *, why: bool, sources: bool) -> None:
    """One plan: cards, budgets, models, decisions with their reasons, and what it would do to the machine."""
    out.print(f"[bold]{plan.stack}[/]  [dim]plan {plan.digest}[/]\n")
    print_cards(out, plan)
    print_budgets(out, plan)
    print_models(out, plan)
    print_decisions(out, plan, why=why, sources=sources)
    print_host_changes(out, plan)
    if not deployable(plan.cluster.driver):
        print_wrapped(out, f"note: {not_implemented(plan.cluster.driver)}", indent=6, style="yellow")
