"""What the engine asks of a kind of resource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.diff import Change
from engine.state import Resource


@dataclass(frozen=True)
class Subject:
    """The resource that a kind is asked about; `options` are the inputs of its provider."""

    urn: str
    type: str
    name: str
    version: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    replaced_id: str = ""  # the old object's id while its replacement is planned

    def option(self, name: str) -> bool:
        """Whether a provider option is on; provider inputs travel as JSON text."""
        return self.options.get(name) in (True, "true")


class Kind(Protocol):
    """The part of a provider that a preview needs. Inputs hold `Secret` objects; a kind keeps them secret."""

    applied_by_cli_only: bool

    def check(self, subject: Subject, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:
        """The inputs as the provider normalises them; raises EngineError where it would refuse them."""

    def diff(self, subject: Subject, old: Resource, inputs: dict[str, Any]) -> Change:
        """What has to change so that the recorded resource has these inputs."""

    def outputs(self, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:
        """What a preview tells the program: a missing top-level key is unknown to it. `old` is set for an update."""
