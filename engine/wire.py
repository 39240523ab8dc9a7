"""Values as they travel between SDK, state file and plan: secrets, unknowns, integral numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Value: TypeAlias = Any  # JSON data with `Secret` objects in it: too recursive for a useful type

UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # the wire format's "known only after apply"
BLINDED: Final = "[secret]"  # what stands in every output in place of a secret, and in configuration read without the passphrase
_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 (a mark in the wire format)


class _Sealed:
    """The type of SEALED."""


SEALED: Final = _Sealed()  # the content of a secret that only the stack's passphrase opens


@dataclass(frozen=True)
class Secret:
    """A secret value inside a decoded document; its content never appears in a repr."""

    value: Any

    def __repr__(self) -> str:
        return BLINDED


def decode(value: Value) -> Value:
    """Turns JSON data from the wire or a state file into plain data with `Secret` objects; null properties are dropped."""
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET:
            if "value" in value:
                return Secret(decode(value["value"]))
            return Secret(decode(json.loads(value["plaintext"])) if "plaintext" in value else SEALED)
        return {key: decode(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [decode(item) for item in value]
    # A protobuf Struct knows doubles only.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def encode(value: Value) -> Value:
    """The reverse of `decode`, for an answer to the SDK; a sealed secret becomes an unknown one."""
    if isinstance(value, Secret):
        return {_SIGNATURE: _SECRET, "value": UNKNOWN if value.value is SEALED else encode(value.value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [encode(item) for item in value]
    return value


def from_struct(message: Value) -> dict[str, Any]:
    """Decodes a protobuf Struct."""
    decoded: dict[str, Any] = decode({key: _from_value(value) for key, value in message.fields.items()})
    return decoded


def _from_value(value: Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {key: _from_value(item) for key, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def blind(value: Value) -> Value:
    """A deep copy with every secret replaced by the text that the CLI shows for it."""
    if isinstance(value, Secret):
        return BLINDED
    if isinstance(value, Mapping):
        return {key: blind(item) for key, item in value.items()}
    return [blind(item) for item in value] if isinstance(value, list | tuple) else value


def plain(value: Value) -> Value:
    """A deep copy with every secret opened; sealed secrets stay sealed."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def contains(value: Value, test: Callable[[Any], bool]) -> bool:
    """Whether the test holds for the value or for anything inside it."""
    if test(value):
        return True
    if isinstance(value, Secret):
        return contains(value.value, test)
    if isinstance(value, Mapping):
        return any(contains(item, test) for item in value.values())
    return isinstance(value, list) and any(contains(item, test) for item in value)


def has_unknown(value: Value) -> bool:
    """Whether anything inside is known only after apply."""
    return contains(value, lambda item: isinstance(item, str) and item == UNKNOWN)


def has_secret(value: Value) -> bool:
    """Whether anything inside is a secret."""
    return contains(value, lambda item: isinstance(item, Secret))


def is_sealed(value: Value) -> bool:
    """Whether this is a secret that cannot be compared: encrypted in the state, or replaced by a placeholder in the configuration."""
    return isinstance(value, Secret) and contains(value.value, lambda item: item is SEALED or item == BLINDED)
