"""Whose object is it? One that is there and not in the state is taken over only where it is surely ours."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from engine.apply.cluster import ApiError

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
_PREFIX: Final = "pulumi-kubernetes"


def new_manager() -> str:
    """A field manager of our own for one resource, as the provider draws it."""
    return f"{_PREFIX}-{secrets.token_hex(4)}"


def managers(live: Mapping[str, Any]) -> list[str]:
    """Pulumi's field managers of a live object, the appliers first."""
    fields = [item for item in live["metadata"].get("managedFields") or [] if not item.get("subresource")]
    found = [item for item in fields if str(item.get("manager", "")).startswith(_PREFIX)]
    return [str(item["manager"]) for item in sorted(found, key=lambda item: item.get("operation") != "Apply")]


def is_ours(live: Mapping[str, Any], inputs: Mapping[str, Any], noted_manager: str) -> bool:
    """Whether we made it: with the field manager that a killed run noted, or with our label and a manager of Pulumi's."""
    if noted_manager and noted_manager in managers(live):
        return True
    label, wanted = (((item.get("metadata") or {}).get("labels") or {}).get(MANAGED_BY) for item in (live, inputs))
    return bool(wanted) and label == wanted == "pulumi" and bool(managers(live))


def adopted_manager(live: Mapping[str, Any]) -> str:
    """The field manager to go on with: its own one, where it has one."""
    own = [name for name in managers(live) if name != _PREFIX]
    return own[0] if own else new_manager()


def transferred(live: Mapping[str, Any], manager: str) -> list[dict[str, Any]] | None:
    """The JSON patch that gives the fields of the provider's plain create to `manager`, as the provider does before an update.

    Without it, what left the program would stay in the object for ever.
    """
    fields = live["metadata"].get("managedFields") or []
    if any(item.get("manager") == manager and item.get("operation") == "Apply" for item in fields):
        return None
    moved = [
        {**item, "manager": manager, "operation": "Apply"}
        if item.get("manager") in (_PREFIX, manager) and item.get("operation") == "Update" and not item.get("subresource")
        else item
        for item in fields
    ]
    if moved == fields:
        return None
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": moved},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
    ]


def is_own_conflict(error: ApiError) -> bool:
    """Whether a conflict is only with field managers of Pulumi's."""
    return bool(error.causes) and all(f'conflict with "{_PREFIX}' in cause for cause in error.causes)
