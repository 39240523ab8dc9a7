"""Reading of a deployment document (version 3), the state that the Pulumi CLI exports. A preview never writes one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.wire import decode

Resource = dict[str, Any]  # a resource in the deployment's own JSON keys, with `Secret` objects in place of secrets
VERSION = 3


@dataclass(frozen=True)
class State:
    """What an earlier run left: live resources by URN in their order, and the URNs of operations that were interrupted."""

    resources: Mapping[str, Resource]
    interrupted: tuple[str, ...] = ()


EMPTY = State({})


def read_state(path: Path | None) -> State:
    """Reads a state file; no file means that nothing has been created yet.

    Raises EngineError where the file is not a deployment of version 3.
    """
    if path is None or not path.exists():
        return EMPTY
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version, deployment = document["version"], document["deployment"]
        if version != VERSION:
            raise EngineError(f"{path} has deployment version {version}; the embedded engine reads version {VERSION}")
        resources = [decode(item) for item in deployment.get("resources") or []]
        # Replaced resources that wait for their deletion, and ones that Pulumi only reads, take no part in a plan.
        live = {item["urn"]: item for item in resources if not item.get("delete") and not item.get("external")}
        pending = tuple(item["resource"]["urn"] for item in deployment.get("pending_operations") or [])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "write one with `pulumi stack export --file FILE`"
        raise EngineError(f"{path} is not a Pulumi deployment ({type(error).__name__}: {error})", remedy=remedy) from error
    return State(live, pending)
