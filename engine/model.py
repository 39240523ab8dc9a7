"""What goes into a preview and what comes out of it. Nothing in a result holds a secret: they are blinded when it is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine import urns
from engine.wire import BLINDED

Op = Literal["same", "create", "update", "replace", "delete"]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Program:
    """A Pulumi Python program: `root` is the folder of Pulumi.yaml, `main` its `__main__.py`."""

    project: str
    stack: str
    root: Path
    main: Path


@dataclass(frozen=True)
class StackConfig:
    """The flat map that a language host receives: `project:key` to text, objects and booleans as JSON text.

    A value whose key is in `secret_keys` may be the placeholder `[secret]` where no passphrase is at hand.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    secret_keys: frozenset[str] = frozenset()

    def blinded(self) -> dict[str, str]:
        """The map with secret values hidden."""
        return {key: BLINDED if key in self.secret_keys else value for key, value in self.values.items()}


@dataclass(frozen=True)
class Diagnostic:
    """One message about the run; `urn` names the resource that it is about, if any."""

    severity: Severity
    message: str
    urn: str = ""

    def to_json(self) -> dict[str, str]:
        """The form that `pulumi preview --json` prints."""
        prefix = "" if self.severity == "info" else f"{self.severity}: "
        return {**({"urn": self.urn} if self.urn else {}), "message": f"{prefix}{self.message}\n", "severity": self.severity}


@dataclass(frozen=True)
class Step:
    """What would happen to one resource: its recorded state and its planned state, in the deployment's JSON keys."""

    op: Op
    urn: str
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    diff_reasons: tuple[str, ...] = ()
    replace_reasons: tuple[str, ...] = ()
    detailed_diff: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def state(self) -> Mapping[str, Any]:
        """The planned state, or for a deletion the recorded one."""
        return self.new if self.new is not None else self.old or {}

    @property
    def type(self) -> str:
        """The resource's type token."""
        return str(self.state["type"])

    @property
    def name(self) -> str:
        """The resource's name in the program."""
        return urns.name_of(self.urn)

    @property
    def parent(self) -> str:
        """The parent's URN, empty for the stack itself."""
        return str(self.state.get("parent", ""))

    @property
    def custom(self) -> bool:
        """Whether a provider manages it; false for components."""
        return bool(self.state["custom"])

    @property
    def provider(self) -> str:
        """The provider's reference, empty for components and providers."""
        return str(self.state.get("provider", ""))

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs after the provider's normalisation."""
        inputs: Mapping[str, Any] = self.state.get("inputs", {})
        return inputs

    @property
    def dependencies(self) -> tuple[str, ...]:
        """The URNs that it waits for."""
        return tuple(self.state.get("dependencies", ()))

    @property
    def property_dependencies(self) -> Mapping[str, list[str]]:
        """The URNs that each input comes from."""
        dependencies: Mapping[str, list[str]] = self.state.get("propertyDependencies", {})
        return dependencies

    @property
    def deleted_with(self) -> str:
        """The URN whose deletion spares this resource's own."""
        return str(self.state.get("deletedWith", ""))

    @property
    def shown(self) -> bool:
        """Whether the CLI lists it: changes, the stack itself, and a changed protection."""
        protects = [bool((state or {}).get("protect")) for state in (self.old, self.new)]
        return self.op != "same" or self.type == urns.STACK_TYPE or protects[0] != protects[1]

    def to_json(self) -> dict[str, Any]:
        """The form that `pulumi preview --json` prints."""
        document: dict[str, Any] = {"op": self.op, "urn": self.urn, "provider": self.provider, "oldState": self.old, "newState": self.new}
        document |= {"diffReasons": list(self.diff_reasons), "replaceReasons": list(self.replace_reasons)}
        return {key: value for key, value in document.items() if value} | {"detailedDiff": self.detailed_diff}


@dataclass(frozen=True)
class Preview:
    """The plan of one run: all steps (unchanged ones too) in dependency order, the stack's outputs, messages, and whether it worked."""

    steps: tuple[Step, ...]
    outputs: Mapping[str, Any]
    diagnostics: tuple[Diagnostic, ...]
    ok: bool
    config: Mapping[str, str] = field(default_factory=dict)
    duration: float = 0.0

    @property
    def change_summary(self) -> dict[str, int]:
        """How many resources each operation touches."""
        return dict(sorted(Counter(step.op for step in self.steps).items()))

    def to_json(self) -> dict[str, Any]:
        """The document that `pulumi preview --json` prints; the duration is in nanoseconds there."""
        return {
            "config": dict(self.config),
            "steps": [step.to_json() for step in self.steps if step.shown],
            "diagnostics": [item.to_json() for item in self.diagnostics],
            "duration": round(self.duration * 1e9),
            "changeSummary": self.change_summary,
        }
