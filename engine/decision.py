"""What the planner decided for one resource: a preview shows it, an apply carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine import urns
from engine.diff import Change
from engine.goals import Goal
from engine.model import Op, Step
from engine.state import Resource
from engine.wire import blind


@dataclass(frozen=True)
class Decision:
    """One resource with its secrets still open to the engine; `record` is its new state without id, outputs and times.

    `condemned` are recorded resources that have to go before this one can be deleted ahead of its replacement.
    """

    op: Op
    urn: str
    goal: Goal
    record: Resource
    options: Mapping[str, Any] = field(default_factory=dict)  # the inputs of its provider
    old: Resource | None = None
    change: Change = field(default_factory=Change)
    delete_first: bool = False
    provider_id: str = ""  # the id that the run gave to a provider
    condemned: tuple[Resource, ...] = ()

    def step(self, extra: Mapping[str, Any]) -> Step:
        """The decision as a preview shows it; `extra` are keys of the new state that only a preview has."""
        new = {**self.record, **extra}
        recorded = dict(self.old) if self.old else None
        if self.old and not extra:
            new |= {key: self.old[key] for key in ("created", "modified") if key in self.old}
        if recorded and self.op == "replace":
            recorded["pendingReplacement" if self.delete_first else "delete"] = True
        change = self.change
        return Step(
            self.op,
            self.urn,
            old=blind(recorded) if recorded else None,
            new=blind(new),
            diff_reasons=change.changed_keys if self.op in ("update", "replace") else (),
            replace_reasons=change.replace_keys if self.op == "replace" else (),
            detailed_diff={path: item.to_json() for path, item in change.detailed.items()} if change.detailed else None,
        )


def new_record(urn: str, goal: Goal, inputs: Mapping[str, Any], alias: str) -> Resource:
    """The state's keys for what the program asks for, without empty ones."""
    keys: dict[str, Any] = {
        "inputs": inputs, "parent": goal.parent, "protect": goal.protect, "dependencies": list(goal.dependencies),
        "provider": goal.provider, "propertyDependencies": goal.property_dependencies, "aliases": [alias] if alias else [],
        "retainOnDelete": goal.retain_on_delete, "deletedWith": goal.deleted_with, **goal.options,
    }  # fmt: skip
    return {"urn": urn, "custom": goal.custom, "type": goal.type, **{key: value for key, value in keys.items() if value}}


def is_listed(decision: Decision) -> bool:
    """Whether a preview lists it: default providers it does not."""
    return not urns.is_default_provider(decision.urn)
