"""`command:local:Command`: a script for creation, update and deletion."""

from __future__ import annotations

from typing import Any

from engine import diff
from engine.diff import Change, PropertyDiff
from engine.errors import EngineError, UnsupportedError
from engine.kinds.base import Subject
from engine.state import Resource
from engine.wire import UNKNOWN, plain


class Command:
    """Changed `triggers` replace it, any other change updates it."""

    applied_by_cli_only = False

    def check(self, subject: Subject, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:  # noqa: ARG002 (the protocol)
        """Refuses what is not text in the environment, as the provider does, and the collecting of files."""
        for name in ("assetPaths", "archivePaths"):
            if inputs.get(name):
                raise UnsupportedError(f"{name} of the Command {subject.name}")
        environment = plain(inputs.get("environment", {}))
        wrong = sorted(name for name, value in environment.items() if not isinstance(value, str)) if environment != UNKNOWN else []
        if wrong:
            raise EngineError(f"Command {subject.name}: environment values must be text: {', '.join(wrong)}", remedy="write str(value)")
        return inputs

    def diff(self, subject: Subject, old: Resource, inputs: dict[str, Any]) -> Change:  # noqa: ARG002 (the protocol)
        """Compares input by input."""
        found = diff.compare(old.get("inputs", {}), inputs)
        detailed = {diff.render_path(path): PropertyDiff(kind, replace=path[0] == "triggers") for path, kind in found.items()}
        return Change(detailed, changed_keys=tuple(sorted({str(path[0]) for path in found})))

    def outputs(self, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:  # noqa: ARG002 (the protocol)
        """What the script prints is known after it ran."""
        return {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}
