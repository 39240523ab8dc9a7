"""What a probe of one layer found, and what a probe may ask of a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

State: TypeAlias = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class Layer:
    """One layer between a driver and a container: `evidence` is what was seen, `cause` one sentence, `fix` what to
    type. `signature` names the row of the signature table that cause and fix come from.
    """

    id: str
    state: State
    evidence: str
    cause: str = ""
    fix: str = ""
    signature: str = ""

    def warned(self) -> Layer:
        """The same as something to look at, which stops nothing yet."""
        return replace(self, state="warn")


@dataclass(frozen=True)
class Ran:
    """How a program ended, and what it said on both outputs; 127 where there is no such program, None where it took
    too long.
    """

    code: int | None
    output: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0


NOT_FOUND = 127


class Machine(Protocol):
    """The machine as probes see it: nothing here changes it, and nothing raises."""

    def run(self, words: Sequence[str], timeout: float = 20.0) -> Ran:
        """Runs a program that only looks; `timeout` is in seconds."""

    def read(self, path: str) -> str | None:
        """The text of a file; None where it is not there or may not be read."""

    def exists(self, path: str) -> bool:
        """Whether there is a file, folder or device of that name."""

    def names(self, folder: str) -> tuple[str, ...]:
        """What a folder holds, sorted; empty where it cannot be read."""


def is_wsl(machine: Machine) -> bool:
    """Whether this is Linux under WSL: its kernel says so."""
    return "microsoft" in (machine.read("/proc/version") or "").lower()
