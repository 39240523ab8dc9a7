"""What a run tells while it works, and what it says at the end. Nothing here holds a secret."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine import urns
from engine.model import Diagnostic, Step
from engine.wire import BLINDED

EventKind = Literal["started", "output", "waiting", "done", "failed", "note"]
_SHORTEST_SECRET = 3  # shorter ones would blind ordinary words; the CLI draws the same line


@dataclass(frozen=True)
class Event:
    """One line of progress about the resource `urn`; `op` is what happens to it, `seconds` how long it took so far."""

    kind: EventKind
    urn: str
    op: str = ""
    text: str = ""
    stream: Literal["", "stdout", "stderr"] = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return urns.name_of(self.urn) if self.urn else ""

    @property
    def type(self) -> str:
        """The resource's type token."""
        return urns.qualified_type(self.urn).rpartition("$")[2] if self.urn else ""


@dataclass(frozen=True)
class Result:
    """The end of a run: how many resources each operation touched (done, not planned), and every step that was done."""

    summary: Mapping[str, int]
    outputs: Mapping[str, Any]
    diagnostics: tuple[Diagnostic, ...]
    ok: bool
    steps: tuple[Step, ...]
    interrupted: bool = False
    exit_code: int = 0
    duration: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return any(op != "same" for op in self.summary)


@dataclass
class Voice:
    """Passes events on one at a time, without the secrets that it was told of."""

    listener: Callable[[Event], None]
    secrets: set[str] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def learn(self, values: Iterable[str]) -> None:
        """Secrets that may stand in what Commands print; many-line ones are learned by line too."""
        with self.lock:
            for value in values:
                self.secrets |= {part for part in (value, *value.splitlines()) if len(part) >= _SHORTEST_SECRET}

    def blind(self, text: str) -> str:
        """The text without them."""
        with self.lock:
            for secret in sorted(self.secrets, key=len, reverse=True):
                text = text.replace(secret, BLINDED)
        return text

    def say(self, event: Event) -> None:
        """Passes an event on; what goes wrong in the listener ends no run."""
        with self.lock, contextlib.suppress(Exception):
            self.listener(replace(event, text=self.blind(event.text)))


@dataclass(frozen=True)
class Talk:
    """The voice of one step."""

    voice: Voice
    urn: str
    op: str
    started: float = field(default_factory=time.monotonic)

    def event(self, kind: EventKind, text: str = "", stream: Literal["", "stdout", "stderr"] = "") -> Event:
        """An event about this step, at this moment."""
        return Event(kind, self.urn, self.op, text, stream, time.monotonic() - self.started)

    def say(self, kind: EventKind, text: str = "", stream: Literal["", "stdout", "stderr"] = "") -> None:
        """Tells one."""
        self.voice.say(self.event(kind, text, stream))
