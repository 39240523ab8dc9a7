"""Reading of a deployment document (version 3), the state that the Pulumi CLI exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.wire import decode

Resource = dict[str, Any]  # a resource in the deployment's own JSON keys, with `Secret` objects in place of secrets
VERSION = 3


@dataclass(frozen=True)
class Pending:
    """An operation that a run began and did not end: `creating`, `updating` or `deleting`."""

    operation: str
    resource: Resource


@dataclass(frozen=True)
class State:
    """What an earlier run left.

    `records` is everything in its order; `resources` the live ones by URN; `pending` the operations that were interrupted.
    """

    records: list[Resource] = field(default_factory=list)
    resources: dict[str, Resource] = field(default_factory=dict)
    pending: tuple[Pending, ...] = ()

    @property
    def interrupted(self) -> tuple[str, ...]:
        """The URNs of the operations that were interrupted."""
        return tuple(str(item.resource["urn"]) for item in self.pending)


def read_state(path: Path | None, decrypt: Callable[[str], str] | None = None) -> State:
    """Reads a state file; no file means that nothing has been created yet. Without `decrypt` encrypted secrets stay sealed.

    Raises EngineError where the file is not a deployment of version 3.
    """
    if path is None or not path.exists():
        return State()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version, deployment = document["version"], document["deployment"]
        if version != VERSION:
            raise EngineError(f"{path} has deployment version {version}; the embedded engine reads version {VERSION}")
        resources = [decode(item, decrypt) for item in deployment.get("resources") or []]
        # Replaced resources that wait for their deletion, and ones that Pulumi only reads, take no part in a plan.
        live = {item["urn"]: item for item in resources if not item.get("delete") and not item.get("external")}
        operations = deployment.get("pending_operations") or []
        begun = [(str(item["type"]), item["resource"]["urn"], decode(item["resource"], decrypt)) for item in operations]
        pending = tuple(Pending(operation, {**resource, "urn": urn}) for operation, urn, resource in begun)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "write one with `pulumi stack export --file FILE`"
        raise EngineError(f"{path} is not a Pulumi deployment ({type(error).__name__}: {error})", remedy=remedy) from error
    return State(resources, live, pending)
