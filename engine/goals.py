"""What the program asks for: one resource registration, read from the wire."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pulumi.runtime.proto import alias_pb2, resource_pb2

from engine import urns
from engine.errors import EngineError, UnsupportedError
from engine.wire import from_struct

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")


@dataclass(frozen=True)
class Goal:
    """A resource as the program wants it; `options` are the state's own keys for resource options, without empty ones."""

    type: str
    name: str
    parent: str
    custom: bool
    inputs: dict[str, Any]
    provider: str = ""
    version: str = ""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, list[str]] = field(default_factory=dict)
    protect: bool | None = None
    retain_on_delete: bool | None = None
    deleted_with: str = ""
    delete_before_replace: bool | None = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    aliases: tuple[alias_pb2.Alias, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def read_goal(request: resource_pb2.RegisterResourceRequest) -> Goal:
    """Reads a RegisterResource request.

    Raises UnsupportedError for resource options that only the Pulumi CLI handles.
    """
    what = f"{request.type} {request.name}"
    unsupported = {
        f"the remote component {what}": request.remote,
        f"the option import_ of {what}": request.importId,
        f"the option transforms of {what}": request.transforms,
        f"the option replace_with of {what}": request.replace_with,
        f"the option replacement_trigger of {what}": _has_trigger(request),
        f"the option env_var_mappings of {what}": request.envVarMappings,
        f"state migrations of {what}": request.state_migrations,
        f"the parameterized package of {what}": request.packageRef,
    }
    for feature, present in unsupported.items():
        if present:
            raise UnsupportedError(feature)
    timeouts = {op: _seconds(getattr(request.customTimeouts, op)) for op in ("create", "update", "delete", "read")}
    options = {
        "customTimeouts": {op: value for op, value in timeouts.items() if value},
        "ignoreChanges": list(request.ignoreChanges),
        "replaceOnChanges": list(request.replaceOnChanges),
        "additionalSecretOutputs": list(request.additionalSecretOutputs),
        "hideDiff": list(request.hideDiffs),
    }
    return Goal(
        type=request.type,
        name=request.name,
        parent=request.parent,
        custom=request.custom,
        inputs=from_struct(request.object),
        provider=request.provider if request.custom and not urns.is_provider(request.type) else "",
        version=request.version,
        dependencies=tuple(sorted(set(request.dependencies))),
        property_dependencies={key: sorted(value.urns) for key, value in sorted(request.propertyDependencies.items())},
        protect=request.protect if request.HasField("protect") else None,
        retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
        deleted_with=request.deletedWith,
        delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        aliases=tuple(request.aliases) + tuple(alias_pb2.Alias(urn=urn) for urn in request.aliasURNs),
        options={key: value for key, value in options.items() if value},
    )


def _has_trigger(request: resource_pb2.RegisterResourceRequest) -> bool:
    return request.HasField("replacement_trigger") and request.replacement_trigger.WhichOneof("kind") not in (None, "null_value")


def _seconds(text: str) -> float | int:
    """Reads a Go duration (`5m`, `1h30m`) as seconds; raises EngineError for anything else."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise EngineError(f"{text!r} is not a duration", remedy="write it like 30s, 5m or 1h30m")
    seconds = sum((float(number) * _UNITS[unit] for number, unit in parts), start=0.0)
    return int(seconds) if seconds.is_integer() else seconds
