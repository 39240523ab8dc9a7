"""A stack's plan as Markdown: what a reviewer needs to decide, the long parts folded."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from cli.render.chart import card_segments, card_title
from components import rendered
from stacks.errors import LabError
from stacks.plan import CardPlan, Decision, MemoryPlan, Plan

_BAR_CELLS = 40
_FOLD_AT = 120
_LONGEST_CELL = 250


def stack_section(plan: Plan) -> str:
    """One stack that can work."""
    machine = plan.machine
    hardware = f"{machine.gpus} x {machine.gpu_name}" if machine.gpu_name else f"{machine.cpus} processors"
    objects, commands = rendered.objects(plan), rendered.commands(plan)
    lines = [
        f"### ✅ `{plan.stack}` fits: {hardware}, {machine.platform}, {plan.cluster.driver}",
        "",
        f"On a fresh machine: {len(objects)} Kubernetes objects and {len(commands)} steps on the host. Plan "
        f"`{plan.digest}`.",
        "",
        "| model | endpoint | context | KV cache | requests at once | max-length requests that fit | image |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model in plan.models:
        context, requests = model.engine.max_model_len, model.engine.max_num_seqs
        kv = f"{model.memory.kv_cache_gib:.2f} GiB, {model.memory.kv_tokens:,} tokens"
        lines.append(
            f"| {model.name} | {model.endpoint} | {context:,} tokens | {kv} | {requests} | "
            f"{_full_length(model.memory, requests)} | `{model.image.split('@')[0]}` |"
        )
    for card in plan.cards:
        lines += ["", f"**{card_title(plan, card)}**", "", "```", *memory_bars(plan, card), "```"]
    if lowered := _lowered(plan):
        lines += ["", "**Degraded settings**", "", *lowered]
    lines += ["", *_folded("Every setting, and why", _decisions(plan.all_decisions()))]
    lines += _folded(
        f"What `up` would do to the machine ({'it asks first' if plan.consent == 'ask' else 'without asking'})",
        _host_changes(plan),
    )
    lines += _folded("Kubernetes objects, and steps on the host", _resources(objects, commands))
    return "\n".join(lines) + "\n"


def refused_section(stack: str, error: LabError) -> str:
    """One stack that cannot work, with the arithmetic and the way out."""
    lines = [
        line
        for text in str(error).splitlines()
        for line in textwrap.wrap(
            text,
            _FOLD_AT,
            initial_indent="",
            subsequent_indent=" " * (len(text) - len(text.lstrip())),
            replace_whitespace=False,
        )
        or [""]
    ]
    quoted = "\n".join(lines)
    longest = max((len(run) for run in re.findall("`+", quoted)), default=0)
    fence = "`" * max(3, longest + 1)  # what is quoted may hold a fence of its own
    return f"### ❌ `{stack}` does not work\n\n{fence}\n{quoted}\n{fence}\n"


def cell(text: str) -> str:
    """Text in a table's cell or a list, with nothing in it that Markdown or HTML would act on."""
    short = " ".join(text.split())
    return re.sub(
        r"[\\`*\[\]<>|~@#&]",
        lambda found: f"&#{ord(found[0])};",
        short if len(short) <= _LONGEST_CELL else f"{short[: _LONGEST_CELL - 3]}...",
    )


def memory_bars(plan: Plan, card: CardPlan) -> list[str]:
    """The card's memory in text bars, one line a holder, GiB."""
    lines, begin = [], 0.0
    segments = card_segments(plan, card)
    width = max(len(segment.label) for segment in segments)
    for segment in segments:
        first, last = (round(edge / card.total_gib * _BAR_CELLS) for edge in (begin, begin + segment.gib))
        bar = " " * first + "█" * max(last - first, 1 if segment.gib > 0 else 0)
        lines.append(f"{segment.label:{width}} {segment.gib:6.2f}  {bar}".rstrip())
        begin += segment.gib
    return lines


def _full_length(memory: MemoryPlan, requests: int) -> str:
    """How many full-length requests fit, and what happens to the others that are let in."""
    if memory.concurrency >= requests:
        return f"{memory.concurrency:.2f}"
    return f"{memory.concurrency:.2f}; more of that length wait"


def _lowered(plan: Plan) -> list[str]:
    """Degraded decisions, one line for all models that share one."""
    who: dict[str, list[str]] = {
        f"{d.name}: {cell(d.value)}. {_sentence(cell(d.reason))}": [] for d in plan.decisions if d.kind == "degraded"
    }
    for model in plan.models:
        for decision in model.decisions:
            if decision.kind == "degraded":
                who.setdefault(
                    f"{decision.name}: {cell(decision.value)}. {_sentence(cell(decision.reason))}", []
                ).append(model.name)
    return [f"- {text}" + (f" ({', '.join(models)})" if models else "") for text, models in who.items()]


def _decisions(decisions: Sequence[Decision]) -> list[str]:
    rows = [f"| {d.name} | {cell(d.value)} | {d.kind} | {cell(d.reason)} | {cell(d.source)} |" for d in decisions]
    return ["| setting | value | | reason | source |", "| --- | --- | --- | --- | --- |", *rows]


def _host_changes(plan: Plan) -> list[str]:
    lines = []
    for change in plan.host_changes:
        lines.append(
            f"- {'**root** ' if change.root else ''}{change.kind}: {change.what}"
            + (f" ({change.note})" if change.note else "")
        )
        if change.command:
            lines += ["  ```", f"  {change.command}", "  ```"]
    return lines


def _resources(objects: Iterable[rendered.Name], commands: Mapping[str, rendered.Command]) -> list[str]:
    """A line for each kind of object, and one for each step, under their names in the program."""
    kinds: dict[str, list[str]] = {}
    for kind, name in objects:
        kinds.setdefault(kind, []).append(f"`{name}`")
    lines = [f"- {kind}: {', '.join(found)}" for kind, found in kinds.items()]
    return [*lines, *(f"- step `{name}`: `{command.runs}`" for name, command in commands.items())]


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
