"""A plan in a terminal or a pipe: cards, budgets, models, decisions. Readable from 80 columns on; nothing is folded in
a first column.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.output import print_table, print_wrapped
from cli.render.chart import budget_text, card_segments, card_title, model_rows
from stacks.plan import Decision, Plan

KINDS: Final = {"stated": "cyan", "derived": "green", "measured": "magenta", "default": "dim", "degraded": "yellow"}
_COLOURS = {
    "desktop": "blue", "context": "blue", "weights": "magenta", "work": "yellow", "band": "red", "kv": "green",
    "unused": "bright_black",
}  # fmt: skip
_CELLS = 60
_WIDE = 110  # columns from which settings stand in a table
_LONGEST_VALUE = 44
# What people look for first among derived settings and defaults; the rest stands behind --why.
_KEY = frozenset({
    "image", "maxModelLen", "maxNumSeqs", "kvCache", "kvCacheMemoryBytes", "gpuMemoryUtilization", "kvCacheDtype",
    "quantization", "attention",
    "enforceEager", "memoryLimit", "concurrency", "hostMemory", "disk", "gpus", "sharing",
})  # fmt: skip


def print_cards(out: Console, plan: Plan) -> None:
    """Who holds how much of each card, in GiB, as bars."""
    for card in plan.cards:
        out.print(f"[bold]{card_title(plan, card)}[/]")
        segments = card_segments(plan, card)
        label, begin = max(len(s.label) for s in segments), 0.0
        for segment in segments:
            bar = Bar(
                card.total_gib, begin, begin + segment.gib, width=_bar_cells(out, label), color=_COLOURS[segment.kind]
            )
            _print_bar(out, f"  {segment.label:{label}}  {segment.gib:5.2f} ", bar)
            begin += segment.gib
        out.print()


def print_budgets(out: Console, plan: Plan) -> None:
    """What the models share, and how much of it is used."""
    out.print("[bold]Budgets[/]")
    name, text = (
        max(len(t) for t in texts) for texts in zip(*((b.name, budget_text(b)) for b in plan.budgets), strict=True)
    )
    for budget in plan.budgets:
        words = f"  {budget.name:{name}}  {budget_text(budget):{text}} "
        if budget.have:
            _print_bar(
                out, words, Bar(budget.have, 0, budget.need, width=_bar_cells(out, name + text - 6), color="green")
            )
        else:
            out.print(words.rstrip(), markup=False)
    out.print()


def print_models(out: Console, plan: Plan) -> None:
    """A table of the models where there is room, else a block each."""
    header, *rows = model_rows(plan)
    if out.width >= _WIDE:
        table = Table(*header, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*row)
        print_table(out, table)
    else:
        width = max(len(title) for title in header)
        for row in rows:
            out.print(f"[bold]{row[0]}[/]")
            for title, value in zip(header[1:], row[1:], strict=True):
                out.print(f"  {title:{width}}  {value}", markup=False)
    if any(model.estimate for model in plan.models):
        bound = "throughput bound: bandwidth / bytes that one step must read; real engines stay below it"
        print_wrapped(out, bound, indent=0, style="dim")
    out.print()


def print_decisions(out: Console, plan: Plan, *, why: bool = False, sources: bool = False) -> None:
    """The degraded and stated settings and the key derived ones, each with its reason; with `why` all, with `sources`
    where they come from.
    """
    decisions = list(plan.all_decisions())
    shown = (
        decisions
        if why
        else [d for d in decisions if d.kind in ("stated", "degraded", "measured") or d.name.rpartition(".")[2] in _KEY]
    )
    title = "Every setting, and why" if why else "Settings that matter, and why"
    out.print(f"[bold]{title}[/]")
    if out.width >= _WIDE:
        print_table(out, _table(shown, sources=sources))
    else:
        for decision in shown:
            value = _value(decision, most=max(8, out.width - len(decision.name) - len(decision.kind) - 7))
            out.print(
                Text.assemble("  ", (decision.name, "bold"), f"  {value}  ", (decision.kind, KINDS[decision.kind]))
            )
            print_wrapped(out, _reason(decision, sources=sources), indent=6, style="dim")
    if len(shown) < len(decisions):
        out.print(f"  and {len(decisions) - len(shown)} more: ./lab plan {plan.stack} --why", style="dim", markup=False)
    out.print()


def _table(decisions: Iterable[Decision], *, sources: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for d in decisions:
        table.add_row(
            f"  {d.name}", Text(_value(d)), Text(d.kind, style=KINDS[d.kind]), Text(_reason(d, sources=sources))
        )
    return table


def _value(decision: Decision, *, most: int = _LONGEST_VALUE) -> str:
    value, most = decision.value, min(most, _LONGEST_VALUE)
    return value if len(value) <= most else f"{value[: most - 3]}..."


def _reason(decision: Decision, *, sources: bool) -> str:
    return f"{decision.reason} [{decision.source}]" if sources else decision.reason


def _bar_cells(out: Console, label: int) -> int:
    return max(10, min(_CELLS, out.width - label - 12))


def _print_bar(out: Console, words: str, bar: Bar) -> None:
    """Words and a bar in one line, without blanks at its end."""
    options = out.options.update(width=bar.width or _CELLS)
    cells = "".join(segment.text for segment in out.render(bar, options)).rstrip()
    out.print(Text.assemble(words, (cells, bar.style)), soft_wrap=True)
