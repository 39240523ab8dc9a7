"""`lab preview`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.table import Table
from rich.tree import Tree

from cli.output import MARKS, console, print_json
from cli.stack_preview import StackPreview, layered, preview_stack
from stacks.planning.plan import MemoryPlan, Plan

if TYPE_CHECKING:
    from rich.console import Console

_KIND_STYLE = {"stated": "cyan", "derived": "green", "default": "dim", "degraded": "yellow"}
_LONGEST_VALUE = 44


def run(root: Path, stack: str, *, as_json: bool, manifests: Path | None, markdown: bool) -> None:
    """Prints the preview in the form that was asked for; writes manifests only when all of it worked."""
    shown = preview_stack(root, stack)
    written: list[str] = []
    if manifests is not None:
        from cli.manifests import write

        written = write(shown, manifests)
    if as_json:
        print_json(
            {"plan": json.loads(shown.plan.to_json()), "preview": shown.preview.to_json(), **({"manifests": written} if written else {})}
        )
    elif markdown:
        from cli.markdown import stack_section

        sys.stdout.write(stack_section(shown))
    else:
        _print(shown)
        if manifests is not None:
            console().print(f"{len(written)} manifests in {manifests}", style="bold")


def _print(shown: StackPreview) -> None:
    out, plan = console(), shown.plan
    machine = plan.machine
    what = f"{machine.gpus} x {machine.gpu_name}" if machine.gpu_name else f"{machine.cpus} processors"
    out.print(
        f"[bold]stack {shown.stack}[/]  {what}, {machine.platform}, {plan.cluster.driver}  [dim](embedded engine, not Pulumi; nothing is touched)[/]\n"
    )
    out.print(_tree(shown))
    out.print()
    for model in plan.models:
        _print_memory(out, model.name, model.memory)
    _print_decisions(out, plan)
    _print_host_changes(out, plan)
    summary = ", ".join(f"{count} to {op}" if op != "same" else f"{count} unchanged" for op, count in shown.preview.change_summary.items())
    out.print(f"[bold]{summary}[/]   plan {plan.digest}")
    for model in plan.models:
        out.print(f"  endpoint  {model.endpoint}   model {model.name}", markup=False)
    out.print(f'next: pulumi preview -s {shown.stack}, where the Pulumi CLI is installed (eval "$(./lab env)" first)', style="dim")


def _tree(shown: StackPreview) -> Tree:
    """The resources under their parents, default providers left out as the CLI does."""
    nodes: dict[str, Tree] = {}
    root = Tree(f"[bold]{shown.stack}")
    for step in layered(shown.preview.steps):
        if step.type == "pulumi:pulumi:Stack":
            nodes[step.urn] = root
            continue
        mark, style = MARKS[step.op]
        kind = step.type.removeprefix("kubernetes:").removeprefix("lab:")
        nodes[step.urn] = nodes.get(step.parent, root).add(f"[{style}]{mark}[/] [bold]{step.name}[/]  [dim]{kind}[/]")
    return root


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


def _print_host_changes(out: Console, plan: Plan) -> None:
    out.print(
        f"[bold]What `up` would do to this machine[/]  [dim]({'it asks first' if plan.consent == 'ask' else 'without asking: hostChanges is allow'})[/]"
    )
    for change in plan.host_changes:
        out.print(f"  {'root' if change.root else 'user'}  {change.kind:8}  {change.what}", markup=False)
        if change.command:
            out.print(f"                  $ {change.command}", markup=False, style="dim")
        if change.note:
            out.print(f"                  {change.note}", markup=False, style="yellow")
    out.print()
