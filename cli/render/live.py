"""A run of Pulumi as people watch it: a line for each resource that changed, and on a terminal what is under way below
them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from cli.output import MARKS, console
from cli.pulumi.events import SUMMARIES, Event, Step

_COMMAND = "command:local:Command"
_SAID_AGAIN = 30.0  # seconds after which a pipe is told once more what is waited for
_LONGEST = 8  # resources under way that are shown at once


class Watch:
    """Shows the events of one run on standard error. `quiet` shows nothing, for machines."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._out: Console = console(stderr=True)
        self._quiet, self._lock = quiet, threading.Lock()
        self._under_way: dict[str, tuple[Step, float, str]] = {}
        self._told: dict[str, tuple[str, float]] = {}
        self._live = None if quiet or not self._out.is_terminal else Live(
            console=self._out, get_renderable=self._picture, refresh_per_second=4, transient=True
        )  # fmt: skip

    def __enter__(self) -> Watch:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Takes one event."""
        if self._quiet or (event.kind == "status" and not (event := _for_people(event)).text):
            return
        step = event.step
        with self._lock:
            if step and event.kind == "started" and step.custom:
                self._under_way[step.urn] = (step, time.monotonic(), "")
            elif step and event.kind in ("done", "failed"):
                self._under_way.pop(step.urn, None)
            elif step and event.kind == "status" and step.urn in self._under_way:
                self._under_way[step.urn] = (step, self._under_way[step.urn][1], event.text.splitlines()[-1])
        self._print(event)

    def _print(self, event: Event) -> None:
        step = event.step
        mark, style = MARKS.get(step.op, (" ", "")) if step else (" ", "")
        if step and event.kind == "done" and event.step and step.op != "same" and step.custom:
            self._out.print(
                f"  [{style}]{mark}[/] [bold]{step.name}[/]  [dim]{_short(step.type)}  {event.seconds:.1f} s[/]"
            )
        elif step and event.kind == "started" and step.type == _COMMAND and step.op != "refresh" and not self._live:
            self._out.print(f"  [dim]{mark} {step.name} ...[/]")
        elif step and event.kind == "failed":
            self._out.print(f"  [red]x[/] [bold]{step.name}[/]  [dim]{_short(step.type)}  {event.seconds:.1f} s[/]")
        elif step and event.kind == "status" and not self._live:
            self._tell(step, event.text)
        elif event.kind == "message" and event.severity in ("warning", "error") and event.text not in SUMMARIES:
            name = f"{step.name}: " if step else ""
            first = next(iter(event.text.splitlines()), "")  # the end of the run shows all of an error
            self._out.print(f"  {name}{first}", markup=False, style="red" if event.severity == "error" else "yellow")

    def _tell(self, step: Step, text: str) -> None:
        """In a pipe: each line of a Command, and what a resource waits for when that changes or has lasted."""
        for line in text.splitlines():
            said, when = self._told.get(step.urn, ("", 0.0))
            if step.type == _COMMAND or line != said or time.monotonic() - when > _SAID_AGAIN:
                self._told[step.urn] = (line, time.monotonic())
                indent = " " * 6 if step.type == _COMMAND else f"  {step.name}: "
                self._out.print(f"{indent}{line}", markup=False, style="dim")

    def _picture(self) -> Group:
        with self._lock:
            rows = list(self._under_way.values())
        width = self._out.width
        lines = []
        for step, begin, said in rows[:_LONGEST]:
            mark, style = MARKS.get(step.op, (" ", ""))
            line = Text.assemble(
                "  ", (mark, style), " ", (step.name, "bold"), f"  {time.monotonic() - begin:.0f} s  ", (said, "dim")
            )
            line.truncate(width - 1, overflow="ellipsis")
            lines.append(line)
        if len(rows) > _LONGEST:
            lines.append(Text(f"  and {len(rows) - _LONGEST} more", style="dim"))
        return Group(*lines)


def _for_people(event: Event) -> Event:
    """Without the lines in which a Command answers in JSON: they are for machines, and in Pulumi's state."""
    return replace(event, text="\n".join(line for line in event.text.splitlines() if not line.startswith('{"')))


def _short(kind: str) -> str:
    return kind.removeprefix("kubernetes:").removeprefix("lab:")
