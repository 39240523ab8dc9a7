"""What planning steps share while a plan is being made: the inputs, and lists that decisions and refusals are written
to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stacks import names
from stacks.catalog import Catalog
from stacks.measured import Start
from stacks.plan import Decision
from stacks.settings import CpuMachine, NvidiaMachine, Settings

Kind = Literal["stated", "derived", "measured", "default", "degraded"]


@dataclass
class Notes:
    """Decisions taken and refusals met; planning goes on after a refusal, so that all of them are found at once."""

    decisions: list[Decision] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def decide(self, name: str, value: object, kind: Kind, source: str, reason: str) -> None:
        """Records why `name` has `value`."""
        self.decisions.append(Decision(name=name, value=str(value), kind=kind, source=source, reason=reason))

    def refuse(self, sentence: str) -> None:
        """Records that the settings cannot work, and why."""
        self.refusals.append(sentence)


@dataclass(frozen=True)
class Inputs:
    """What every planning step may read."""

    stack: str
    settings: Settings
    catalog: Catalog
    secrets: frozenset[str]
    measured: tuple[Start, ...] = ()

    def folder(self, model: str) -> str:
        """Where the weights of the catalogue's `model` lie in the cache, at the catalogue's revision."""
        entry = self.catalog.model(model)
        return names.model_directory(entry.repository, entry.revision)


def gib(value: float) -> str:
    """A size for people: two decimals, as vLLM prints it."""
    return f"{value:.2f} GiB"


def linux_memory_gib(machine: NvidiaMachine | CpuMachine, catalog: Catalog, notes: Notes) -> float:
    """RAM that Linux has, in GiB: all of it on the metal, what .wslconfig gives under WSL2."""
    if isinstance(machine, NvidiaMachine) and machine.platform == "wsl2":
        if machine.wsl_memory_gib is not None:
            notes.decide(
                "machine.linuxMemory",
                gib(machine.wsl_memory_gib),
                "stated",
                "stack file",
                "machine.wslMemoryGiB, what .wslconfig gives WSL2",
            )
            return float(machine.wsl_memory_gib)
        share = catalog.fact("platforms.wsl2.memoryShare")
        value = machine.memory_gib * float(share.value)
        notes.decide(
            "machine.linuxMemory",
            gib(value),
            "derived",
            share.source,
            f"{share.value:g} of {machine.memory_gib} GiB; .wslconfig can give more",
        )
        return value
    if isinstance(machine, CpuMachine) and "memoryGiB" in machine.detected:
        reason = "the stack file states no machine.memoryGiB"
        notes.decide("machine.linuxMemory", gib(machine.memory_gib), "derived", "/proc/meminfo", reason)
    else:
        notes.decide("machine.linuxMemory", gib(machine.memory_gib), "stated", "stack file", "machine.memoryGiB")
    return float(machine.memory_gib)
