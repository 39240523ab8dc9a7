"""What the engine asks of a kind of resource that it applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.apply.events import Talk
from engine.errors import EngineError
from engine.state import Resource

Outputs = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One resource to work on: `inputs` hold `Secret` objects, `options` are its provider's inputs.

    `timeout` is in seconds, 0 for the kind's own. `hint` is what a killed run noted of the object that it was creating.
    """

    urn: str
    type: str
    name: str
    inputs: Mapping[str, Any]
    options: Mapping[str, Any]
    talk: Talk
    timeout: float = 0.0
    hint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """A resource as it is now; `trouble` says why it is there but not ready."""

    id: str
    outputs: Outputs
    trouble: EngineError | None = None


class Handler(Protocol):
    """The part of a provider that changes things. Everything may raise EngineError, and InterruptedRunError after a Ctrl-C."""

    def prepare(self, task: Task) -> Outputs:
        """What is noted in the state before a creation begins, so that a later run knows the object as ours."""

    def create(self, task: Task, noted: Outputs) -> Made:
        """Creates it."""

    def update(self, task: Task, old: Resource) -> Made:
        """Changes the recorded resource to the task's inputs."""

    def delete(self, task: Task, old: Resource, *, unsure: bool) -> None:
        """Removes it; `unsure` where a killed run may or may not have made it."""

    def exists(self, task: Task, old: Resource) -> bool:
        """Whether the recorded resource is still there."""
