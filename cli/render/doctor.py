"""A doctor's report in a terminal or a pipe: a line for each layer, what is wrong and what to type below it."""

from __future__ import annotations

import textwrap
from typing import Final

from rich.console import Console
from rich.text import Text

from cli.doctor.examination import Report
from probes.nvidia import Layer

_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}
_TITLES: Final = {"machine": "Machine", "nvidia": "NVIDIA", "cluster": "Cluster", "stack": "Stack"}
_MARK, _GAP = 11, 2  # columns of the state, and blanks after the layer's name


def print_report(out: Console, report: Report) -> None:
    """Every layer by group, and a summary."""
    name = max(len(layer.id) for layer in report.layers) + _GAP
    for group, layers in report.groups.items():
        out.print(f"[bold]{_TITLES[group]}[/]")
        for layer in layers:
            _print_layer(out, layer, name)
        out.print()
    out.print(summary(report), style=_STYLES[report.state])


def summary(report: Report) -> str:
    """How many layers are in which state."""
    count = {state: sum(layer.state == state for layer in report.layers) for state in _STYLES}
    words = {"ok": "ok", "warn": "to look at", "fail": "broken", "skipped": "skipped"}
    return ", ".join(f"{count[state]} {words[state]}" for state in words if count[state] or state == "ok")


def _print_layer(out: Console, layer: Layer, name: int) -> None:
    first = Text.assemble("  ", (f"{layer.state:{_MARK - 2}}", _STYLES[layer.state]), (f"{layer.id:{name}}", ""))
    _print_folded(out, first, layer.evidence, "dim" if layer.state == "skipped" else "")
    if layer.state in ("warn", "fail"):
        blank = " " * _MARK
        for label, text in (("why", layer.cause), ("fix", layer.fix)):
            if text:
                _print_folded(out, Text(f"{blank}{label:>{name - _GAP}}{' ' * _GAP}", style="dim"), text, "")


def _print_folded(out: Console, first: Text, text: str, style: str) -> None:
    """`first`, and the text beside it with a hanging indent."""
    indent = len(first)
    lines = textwrap.wrap(text, max(20, out.width - indent), break_on_hyphens=False, break_long_words=False) or [""]
    out.print(Text.assemble(first, (lines[0], style)), soft_wrap=True)
    for line in lines[1:]:
        out.print(Text.assemble(" " * indent, (line, style)), soft_wrap=True)
