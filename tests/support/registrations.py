"""What the program registered, as plain data: one entry a resource, and the whole run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from graphlib import TopologicalSorter
from typing import Any, Final

from pulumi.runtime import rpc
from pulumi.runtime.proto import resource_pb2

UNKNOWN: Final = rpc.UNKNOWN
"""What is in the place of an input that only `up` can know."""

SECRET: Final = "[secret]"


@dataclass(frozen=True)
class Step:
    """One registration. `inputs` are the program's own, secrets as "[secret]" and what only `up` knows as UNKNOWN."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: Mapping[str, Any]
    provider: str
    dependencies: tuple[str, ...]
    property_dependencies: Mapping[str, tuple[str, ...]]
    deleted_with: str
    timeouts: Mapping[str, str]
    options: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Message:
    """What the program logged or printed, or how it failed."""

    severity: str
    message: str


@dataclass(frozen=True)
class Record:
    """One run: registrations in dependency order, the stack's outputs, messages, and whether all went well."""

    steps: tuple[Step, ...]
    outputs: Mapping[str, Any]
    diagnostics: tuple[Message, ...]
    ok: bool

    def to_json(self) -> dict[str, Any]:
        """All of it, as plain data."""
        return asdict(self)


def step(urn: str, request: resource_pb2.RegisterResourceRequest) -> Step:
    """A request of the SDK; `options` and `timeouts` hold only what is set."""
    timeouts = {key: getattr(request.customTimeouts, key) for key in ("create", "update", "delete")}
    options = {
        "aliases": [str(alias) for alias in request.aliases],
        "deleteBeforeReplace": request.deleteBeforeReplace,
        "ignoreChanges": list(request.ignoreChanges),
        "importId": request.importId,
        "protect": request.protect,
        "replaceOnChanges": list(request.replaceOnChanges),
        "replaceWith": list(request.replace_with),
        "retainOnDelete": request.retainOnDelete,
        "version": request.version,
    }
    sources = {key: tuple(sorted(found.urns)) for key, found in sorted(request.propertyDependencies.items())}
    return Step(
        urn=urn,
        type=request.type,
        name=request.name,
        parent=request.parent,
        custom=request.custom,
        inputs=plain(request.object),
        provider=request.provider,
        dependencies=tuple(sorted(request.dependencies)),
        property_dependencies={key: urns for key, urns in sources.items() if urns},
        deleted_with=request.deletedWith,
        timeouts={key: text for key, text in timeouts.items() if text},
        options={key: value for key, value in options.items() if value},
    )


def plain(message: Any) -> Any:
    """A protobuf Struct or Value as plain data: whole numbers as int, secrets as "[secret]"."""
    if hasattr(message, "fields"):
        signature = rpc._special_sig_key
        if signature in message.fields and message.fields[signature].string_value == rpc._special_secret_sig:
            return SECRET
        return {key: plain(value) for key, value in message.fields.items()}
    match message.WhichOneof("kind"):
        case "struct_value":
            return plain(message.struct_value)
        case "list_value":
            return [plain(value) for value in message.list_value.values]
        case "number_value":
            number = message.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return message.string_value
        case "bool_value":
            return message.bool_value
        case _:
            return None


def in_order(steps: Mapping[str, Step]) -> tuple[Step, ...]:
    """Every resource after what it needs, and otherwise by URN."""
    sorter = TopologicalSorter({urn: _needs(step) & steps.keys() for urn, step in steps.items()})
    sorter.prepare()
    ordered: list[Step] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        ordered += [steps[urn] for urn in ready]
        sorter.done(*ready)
    return tuple(ordered)


def _needs(step: Step) -> set[str]:
    return {step.parent, step.provider.rpartition("::")[0], step.deleted_with, *step.dependencies}
