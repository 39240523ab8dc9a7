"""Kinds that a preview lists and only the Pulumi CLI applies: Helm releases and Kubernetes patches."""

from __future__ import annotations

from typing import Any

from engine import diff
from engine.diff import Change, PropertyDiff
from engine.kinds.base import Subject
from engine.state import Resource


class Listed:
    """Shown with the inputs that the program wrote; the provider would add to them (a chart's version, defaults)."""

    applied_by_cli_only = True

    def check(self, subject: Subject, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:  # noqa: ARG002 (the protocol)
        """The inputs as written."""
        return inputs

    def diff(self, subject: Subject, old: Resource, inputs: dict[str, Any]) -> Change:  # noqa: ARG002 (the protocol)
        """Compares only what the program writes, for the recorded inputs hold the provider's additions too."""
        before = {key: value for key, value in old.get("inputs", {}).items() if key in inputs}
        found = {path: kind for path, kind in diff.compare(before, inputs).items() if kind != "delete"}
        return Change({diff.render_path(path): PropertyDiff(kind) for path, kind in found.items()})

    def outputs(self, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:  # noqa: ARG002 (the protocol)
        """The inputs; anything else is known after apply."""
        return dict(inputs)
