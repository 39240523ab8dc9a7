"""`lab preview`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.table import Table
from rich.tree import Tree

from cli.deployed import Deployed, deployed, get_pulumi
from cli.host_changes import print_host_changes
from cli.output import MARKS, console, print_json
from cli.up import failure
from stacks.planning.plan import MemoryPlan, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from cli.pulumi.events import Event, Outcome, Step
    from host.artifacts.pulumi import Pulumi

_KIND_STYLE = {"stated": "cyan", "derived": "green", "default": "dim", "degraded": "yellow"}
_LONGEST_VALUE = 44


def run(root: Path, stack: str, *, as_json: bool) -> None:
    """Prints what Pulumi would do, and the plan behind it. Raises LabError where Pulumi cannot be had or the program fails."""
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
                return workspace.run("preview", on_event=_ignore)
    with scratch(target.root, target.stack, pulumi) as workspace:
        return workspace.run("preview", on_event=_ignore)


def _ignore(_event: Event) -> None:
    """A preview takes seconds and is shown whole."""


def _print(target: Deployed, outcome: Outcome, pulumi: Pulumi) -> None:
    out, plan = console(), target.plan
    machine = plan.machine
    what = f"{machine.gpus} x {machine.gpu_name}" if machine.gpu_name else f"{machine.cpus} processors"
    out.print(
        f"[bold]stack {target.stack}[/]  {what}, {machine.platform}, {plan.cluster.driver}  [dim](Pulumi {pulumi.version}; nothing is touched)[/]\n"
    )
    out.print(_tree(target.stack, outcome))
    out.print()
    for model in plan.models:
        _print_memory(out, model.name, model.memory)
    _print_decisions(out, plan)
    print_host_changes(out, plan)
    for diagnostic in outcome.diagnostics:
        out.print(f"{diagnostic['severity']}: {diagnostic['message']}", markup=False, style="yellow")
    summary = ", ".join(f"{count} to {op}" if op != "same" else f"{count} unchanged" for op, count in outcome.summary.items())
    out.print(f"[bold]{summary}[/]   plan {plan.digest}")
    for model in plan.models:
        out.print(f"  endpoint  {model.endpoint}   model {model.name}", markup=False)
    out.print(f"next: ./lab up {target.stack}", style="dim")


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
        nodes[step.urn] = nodes.get(step.parent, root).add(f"[{style}]{mark}[/] [bold]{step.name}[/]  [dim]{kind}[/]{changed}")
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


def _print_memory(out: Console, name: str, memory: MemoryPlan) -> None:
    """The card as bars: who holds how much of it, in GiB."""
    if memory.device == "cpu":
        return
    unused = memory.total_gib - memory.desktop_gib - memory.context_gib - memory.budget_gib
    parts = (
        ("desktop", memory.desktop_gib, "blue"),
        ("CUDA context", memory.context_gib, "blue"),
        ("weights", memory.weights_gib, "magenta"),
        ("activations", memory.activation_gib, "yellow"),
        ("non-torch", memory.non_torch_gib, "yellow"),
        ("CUDA graphs", memory.cuda_graphs_gib, "yellow"),
        ("error band", memory.error_band_gib, "red"),
        ("KV cache", memory.kv_cache_gib, "green"),
        ("unused", unused, "dim"),
    )
    out.print(f"[bold]GPU memory of {name}[/]  {memory.total_gib:.2f} GiB")
    table = Table.grid(padding=(0, 1))
    begin = 0.0
    for label, size, style in parts:
        table.add_row(
            f"  {label}",
            f"{size:5.2f}",
            Bar(memory.total_gib, begin, begin + size, width=60, color=style if style != "dim" else "bright_black"),
        )
        begin += size
    out.print(table)
    out.print(f"  {memory.kv_tokens:,} tokens of KV cache; one full request needs {memory.kv_needed_gib:.2f} GiB\n")


def _print_decisions(out: Console, plan: Plan) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="Settings, and why", title_justify="left", title_style="bold")
    for column in ("setting", "value", "", "reason"):
        table.add_column(column, overflow="fold", style="" if column != "reason" else "dim")
    for decision in plan.all_decisions():
        value = decision.value if len(decision.value) <= _LONGEST_VALUE else f"{decision.value[: _LONGEST_VALUE - 3]}..."
        table.add_row(
            decision.name,
            value,
            f"[{_KIND_STYLE[decision.kind]}]{decision.kind}[/]",
            f"{decision.reason} [{decision.source}]".replace("[", r"\["),
        )
    out.print(table)
    out.print()
