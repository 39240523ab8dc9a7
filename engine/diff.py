"""Structural comparison of properties, in the terms of Pulumi's detailed diff, and its property paths."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.wire import Secret, Value, is_sealed

Path = tuple[str | int, ...]
_TOKEN = re.compile(r'\[(?P<index>\d+|\*)\]|\["(?P<quoted>(?:[^"\\]|\\.)*)"\]|\.?(?P<key>[^.\[\]]+)')
_MISSING = object()


@dataclass(frozen=True)
class PropertyDiff:
    """How one property differs; `input_diff` is what the provider says of where it looked (kept for the CLI's JSON)."""

    kind: Literal["add", "delete", "update"]
    replace: bool = False
    input_diff: bool = False

    def to_json(self) -> dict[str, Any]:
        """The form that `pulumi preview --json` prints."""
        return {"kind": f"{self.kind}-replace" if self.replace else self.kind, "inputDiff": self.input_diff}


@dataclass(frozen=True)
class Change:
    """What a kind says about new inputs against the recorded resource; empty means that nothing has to be done."""

    detailed: Mapping[str, PropertyDiff] | None = None
    changed_keys: tuple[str, ...] = ()
    replace_keys: tuple[str, ...] = ()
    delete_first: bool = False
    forced: bool = False  # the engine itself wants a step where the properties show no difference
    notes: tuple[str, ...] = field(default=())

    @property
    def empty(self) -> bool:
        """Whether the resource stays as it is."""
        return not (self.detailed or self.changed_keys or self.replace_keys or self.forced)

    @property
    def replaces(self) -> bool:
        """Whether the resource has to be replaced."""
        return bool(self.replace_keys) or any(item.replace for item in (self.detailed or {}).values())

    def with_replace_on(self, patterns: Sequence[str]) -> Change:
        """The same change with the resource option `replaceOnChanges` applied."""
        parsed = [parse_path(pattern) for pattern in patterns]

        def hit(path: str) -> bool:
            return any(covers(pattern, parse_path(path)) for pattern in parsed)

        detailed = self.detailed and {path: replace(item, replace=item.replace or hit(path)) for path, item in self.detailed.items()}
        keys = {*self.replace_keys, *(key for key in self.changed_keys if hit(key))}
        return replace(self, detailed=detailed, replace_keys=tuple(sorted(keys)))


def compare(old: Value, new: Value) -> dict[Path, Literal["add", "delete", "update"]]:
    """The leaves that differ between two values; a sealed secret is taken as equal to any other."""
    found: dict[Path, Literal["add", "delete", "update"]] = {}
    _compare(old, new, (), found)
    return found


def _compare(old: Value, new: Value, path: Path, found: dict[Path, Literal["add", "delete", "update"]]) -> None:
    if is_sealed(old) or is_sealed(new):
        return
    old, new = (value.value if isinstance(value, Secret) else value for value in (old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            _compare_item(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key), found)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before, after = (items[index] if index < len(items) else _MISSING for items in (old, new))
            _compare_item(before, after, (*path, index), found)
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        found[path] = "update"


def _compare_item(old: Value, new: Value, path: Path, found: dict[Path, Literal["add", "delete", "update"]]) -> None:
    if old is _MISSING:
        found[path] = "add"
    elif new is _MISSING:
        found[path] = "delete"
    else:
        _compare(old, new, path, found)


def parse_path(text: str) -> Path:
    """Reads a property path such as `spec.ports[0]`, `data["a.b"]` or `triggers[*]`."""
    path: list[str | int] = []
    for match in _TOKEN.finditer(text):
        index, quoted, key = match.group("index", "quoted", "key")
        if index is not None:
            path.append("*" if index == "*" else int(index))
        else:
            path.append(key if quoted is None else quoted.replace('\\"', '"'))
    return tuple(path)


def render_path(path: Path) -> str:
    """Writes a property path as Pulumi does."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif any(char in part for char in '."[]'):
            escaped = part.replace('"', '\\"')
            text += f'["{escaped}"]'
        else:
            text += f".{part}" if text else part
    return text


def covers(pattern: Path, path: Path) -> bool:
    """Whether the pattern names the path or something that holds it."""
    return len(pattern) <= len(path) and all(want in ("*", have) for want, have in zip(pattern, path, strict=False))


def keep_old(old: Value, new: Value, pattern: Path) -> Value:
    """The new value with what the pattern names taken from the old one (the resource option `ignoreChanges`)."""
    if not pattern:
        return old
    head, rest = pattern[0], pattern[1:]
    if isinstance(new, list) and isinstance(old, list):
        chosen = range(len(new)) if head == "*" else [head]
        return [keep_old(old[i], item, rest) if i in chosen and i < len(old) else item for i, item in enumerate(new)]
    if not (isinstance(new, Mapping) and isinstance(old, Mapping)):
        return new
    result = dict(new)
    for key in {*old, *new} if head == "*" else {str(head)}:
        if key in old and key in new:
            result[key] = keep_old(old[key], new[key], rest)
        elif not rest and key in old:
            result[key] = old[key]
        elif not rest:
            result.pop(key, None)
    return result
