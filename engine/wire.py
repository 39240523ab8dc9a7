"""Values as they travel between SDK, state file and plan: secrets, unknowns, integral numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """A secret value inside a decoded document; its content never appears in a repr.

    `ciphertext` is what a state file held for it: an unchanged secret is written back as it was.
    """

    value: Any
    ciphertext: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return BLINDED


def decode(value: Value, decrypt: Callable[[str], str] | None = None) -> Value:
    """Turns JSON data from the wire or a state file into plain data with `Secret` objects; null properties are dropped.

    Without `decrypt` encrypted secrets stay sealed.
    """
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET:
            return _decode_secret(value, decrypt)
        return {key: decode(item, decrypt) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [decode(item, decrypt) for item in value]
    # A protobuf Struct knows doubles only.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _decode_secret(value: Mapping[str, Any], decrypt: Callable[[str], str] | None) -> Secret:
    if "value" in value:
        return Secret(decode(value["value"], decrypt))
    if "plaintext" in value:
        return Secret(decode(json.loads(value["plaintext"])))
    ciphertext = str(value.get("ciphertext", ""))
    return Secret(decode(json.loads(decrypt(ciphertext))), ciphertext) if decrypt else Secret(SEALED, ciphertext)


def seal(value: Value, encrypt: Callable[[str], str]) -> Value:
    """The form of a state file: JSON data with every secret encrypted."""
    if isinstance(value, Secret):
        return {_SIGNATURE: _SECRET, "ciphertext": value.ciphertext or encrypt(json.dumps(plain(value), separators=(",", ":")))}
    if isinstance(value, Mapping):
        return {key: seal(item, encrypt) for key, item in value.items()}
    return [seal(item, encrypt) for item in value] if isinstance(value, list | tuple) else value


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


def reuse(new: Value, old: Value) -> Value:
    """The new value with the old one's secrets where they are equal, so that their ciphertext stays as it is."""
    if isinstance(new, Secret):
        return old if isinstance(old, Secret) and old == new else new
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return {key: reuse(item, old.get(key)) for key, item in new.items()}
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        return [reuse(*pair) for pair in zip(new, old, strict=True)]
    return new
