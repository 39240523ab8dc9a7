"""What the CLI says while it works: one JSON object a line on standard output, with `--json` (apitype.EngineEvent of
pulumi/sdk).

`preview`, `up`, `refresh` and `destroy` speak the same language, so one reader serves them all.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["started", "done", "failed", "message", "status"]

# The engine's steps in the words of its summary; what only ends a replacement is no step of its own.
_OPERATIONS = {"create-replacement": "replace", "delete-replaced": "", "read-replacement": "replace",
"import-replacement": "replace",
               "discard-replaced": "", "remove-pending-replace": "", "refresh": "refresh"}  # fmt: skip
_COLOURS = re.compile(r"<\{%[^%]*%\}>")
SUMMARIES = ("update failed", "preview failed", "resource plan failed")
"""What the engine says at the end beside what really went wrong."""


@dataclass(frozen=True)
class Step:
    """One resource of a run. `op` is create, update, replace, delete, same or refresh; `inputs` are the new ones,
    secrets as "[secret]".
    """

    op: str
    urn: str
    type: str
    name: str
    parent: str
    provider: str
    custom: bool
    inputs: Mapping[str, Any] = field(repr=False)
    changed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The step for machines."""
        return {"op": self.op, "urn": self.urn, "type": self.type, "parent": self.parent, "provider": self.provider,
        "inputs": self.inputs,
                "changed": list(self.changed)}  # fmt: skip


@dataclass(frozen=True)
class Event:
    """Something that happened: `seconds` since the step began, `text` what a resource said (`status` is replaced by the
    next one).
    """

    kind: Kind
    step: Step | None
    text: str = ""
    seconds: float = 0.0
    severity: str = "info"


@dataclass
class Outcome:
    """All of a run: its steps in the engine's order, counts by operation, what went wrong, and how it ended."""

    steps: list[Step] = field(default_factory=list)
    summary: dict[str, int] = field(default_factory=dict)
    diagnostics: list[dict[str, str]] = field(default_factory=list)
    code: int = 0
    errors: str = ""
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether the run came to its end without an error."""
        return self.code == 0 and not self.interrupted

    @property
    def messages(self) -> list[str]:
        """The errors in the engine's words, the most telling first, each once."""
        found = [d["message"] for d in self.diagnostics if d["severity"] == "error"]
        telling = [m for m in found if m not in SUMMARIES]
        return list(dict.fromkeys(telling or found or ([self.errors.strip()] if self.errors.strip() else [])))

    def to_json(self) -> dict[str, Any]:
        """The run for machines."""
        return {"summary": self.summary, "steps": [s.to_json() for s in self.steps], "diagnostics": self.diagnostics}


class Reader:
    """Takes the lines of one run and tells `on_event` what they mean; `outcome` grows with them."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self.outcome = Outcome()
        self._on_event = on_event
        self._steps: dict[str, Step] = {}
        self._began: dict[str, float] = {}

    def line(self, text: str) -> None:
        """One line of standard output; what is no event (a warning before the stream begins) is kept as an error
        text.
        """
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self.outcome.errors += text
            return
        for name, take in (
            ("resourcePreEvent", self._started), ("resOutputsEvent", self._done), ("resOpFailedEvent", self._failed),
            ("diagnosticEvent", self._said), ("summaryEvent", self._summed),
        ):  # fmt: skip
            if name in event:
                take(event[name])

    def _started(self, event: Mapping[str, Any]) -> None:
        step = _step(event["metadata"])
        known = self._steps.get(step.urn)
        if step.op and not (known and known.op == step.op):  # a replacement is announced twice
            self._steps[step.urn] = step
            self._began[step.urn] = time.monotonic()
            if step.op != "same":
                self._on_event(Event("started", step))

    def _done(self, event: Mapping[str, Any]) -> None:
        step = _step(event["metadata"])
        if not step.op:
            return
        known = self._steps.get(step.urn)
        if known is None or known.op != step.op:  # components that stay as they are have no beginning of their own
            self._steps[step.urn] = step
        elif known in self.outcome.steps:
            return  # a component's outputs come after its end
        self.outcome.steps.append(self._steps[step.urn])
        self._on_event(Event("done", self._steps[step.urn], seconds=self._age(step.urn)))

    def _failed(self, event: Mapping[str, Any]) -> None:
        step = _step(event["metadata"])
        self._on_event(Event("failed", step, seconds=self._age(step.urn), severity="error"))

    def _said(self, event: Mapping[str, Any]) -> None:
        severity, text = event.get("severity", "info"), _COLOURS.sub("", event.get("message", "")).rstrip()
        if severity == "debug" or not text:
            return
        step = self._steps.get(event.get("urn", ""))
        status = bool(event.get("ephemeral"))
        if not status:
            self.outcome.diagnostics.append(
                {"severity": severity.partition("#")[0], "urn": event.get("urn", ""), "message": text}
            )
        self._on_event(Event("status" if status else "message", step, text=text, severity=severity))

    def _summed(self, event: Mapping[str, Any]) -> None:
        self.outcome.summary = {op: n for op, n in event.get("resourceChanges", {}).items() if n}

    def _age(self, urn: str) -> float:
        return time.monotonic() - self._began.get(urn, time.monotonic())


def _step(metadata: Mapping[str, Any]) -> Step:
    state = metadata.get("new") or metadata.get("old") or {}
    urn, kind = metadata["urn"], metadata["type"]
    operation = _OPERATIONS.get(metadata["op"], metadata["op"])
    return Step(
        op=operation, urn=urn, type=kind, name=urn.rpartition("::")[2], parent=state.get("parent", ""),
        provider=state.get("provider", "") or metadata.get("provider", ""), custom=bool(state.get("custom")),
        inputs=state.get("inputs") or {},
        changed=tuple(sorted(metadata.get("detailedDiff") or metadata.get("diffs") or ())),
    )  # fmt: skip
