"""`lab preview`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.tree import Tree

from cli.commands.up import failure
from cli.deployed import Deployed, deployed, get_pulumi, not_implemented
from cli.output import MARKS, console, print_json, print_wrapped
from cli.render.host_changes import print_host_changes
from cli.render.terminal import print_cards, print_decisions
from stacks.planning.clusters import deployable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.pulumi.events import Event, Outcome, Step
    from host.artifacts.pulumi import Pulumi


def run(root: Path, stack: str, *, as_json: bool) -> None:
    """Prints what Pulumi would do, and the plan behind it. Raises LabError where Pulumi cannot be had or the program
    fails.
    """
    target = deployed(root, stack)
    pulumi = get_pulumi(target.plan)
    outcome = _previewed(target, pulumi)
    if not outcome.ok:
        raise failure(stack, outcome, "if the stack file is in order this is a defect of the lab: please report it")
    if as_json:
        print_json({"plan": json.loads(target.plan.to_json()), "preview": outcome.to_json()})
    else:
        _print(target, outcome, pulumi)


def _previewed(target: Deployed, pulumi: Pulumi) -> Outcome:
    """Against the stack's own state where it has one, else against an empty one that is gone afterwards."""
    from cli.pulumi.workspace import scratch

    if target.recorded():
        with target.alone():
            workspace = target.workspace(pulumi)
            if workspace.deployment() is not None:
                return workspace.on_a_copy().run("preview", on_event=_ignore)
    with scratch(target.root, target.stack, pulumi) as workspace:
        return workspace.run("preview", on_event=_ignore)


def _ignore(_event: Event) -> None:
    """A preview takes seconds and is shown whole."""


def _print(target: Deployed, outcome: Outcome, pulumi: Pulumi) -> None:
    out, plan = console(), target.plan
    machine = plan.machine
    what = f"{machine.gpus} x {machine.gpu_name}" if machine.gpu_name else f"{machine.cpus} processors"
    out.print(
        f"[bold]stack {target.stack}[/]  {what}, {machine.platform}, {plan.cluster.driver}  [dim](Pulumi "
        f"{pulumi.version}; nothing is touched)[/]\n"
    )
    out.print(_tree(target.stack, outcome))
    out.print()
    print_cards(out, plan)
    print_decisions(out, plan)
    print_host_changes(out, plan)
    for diagnostic in outcome.diagnostics:
        out.print(f"{diagnostic['severity']}: {diagnostic['message']}", markup=False, style="yellow")
    summary = ", ".join(
        f"{count} to {op}" if op != "same" else f"{count} unchanged" for op, count in outcome.summary.items()
    )
    out.print(f"[bold]{summary}[/]   plan {plan.digest}")
    for model in plan.models:
        out.print(f"  endpoint  {model.endpoint}   model {model.name}", markup=False)
    if deployable(plan.cluster.driver):
        out.print(f"next: ./lab up {target.stack}", style="dim")
    else:
        print_wrapped(out, f"note: {not_implemented(plan.cluster.driver)}", indent=6, style="yellow")


def _tree(stack: str, outcome: Outcome) -> Tree:
    """The resources under their parents in the engine's order, default providers left out as the CLI does."""
    nodes: dict[str, Tree] = {}
    root = Tree(f"[bold]{stack}")
    for step in _parents_first(outcome.steps):
        if step.type == "pulumi:pulumi:Stack":
            nodes[step.urn] = root
            continue
        mark, style = MARKS.get(step.op, (" ", ""))
        kind = step.type.removeprefix("kubernetes:").removeprefix("lab:")
        changed = f"  [yellow]{', '.join(step.changed)}[/]" if step.op in ("update", "replace") and step.changed else ""
        nodes[step.urn] = nodes.get(step.parent, root).add(
            f"[{style}]{mark}[/] [bold]{step.name}[/]  [dim]{kind}[/]{changed}"
        )
    return root


def _parents_first(steps: Sequence[Step]) -> list[Step]:
    """Parents before children; a component stands where the engine came to its first own resource."""
    parents = {step.urn: step.parent for step in steps}
    place: dict[str, int] = {}
    for number, step in enumerate(steps):
        urn = step.urn if step.custom else ""
        while urn:
            place.setdefault(urn, number)
            urn = parents.get(urn, "")
    depth = {step.urn: step.urn.count("$") + (step.type != "pulumi:pulumi:Stack") for step in steps}
    return sorted(steps, key=lambda step: (depth[step.urn], place.get(step.urn, len(steps))))
