"""Reads YAML as Pulumi's own reader does (Go's yaml.v3), so that `lab` and `pulumi` never see two different stacks.

What that reader would silently bend (dates, keys that are no text, infinities) or what it expands without end is refused here, with
the line and what to type. Scalars follow resolve.go of yaml.v3 v3.0.1.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import yaml

from stacks.errors import shown

try:
    from yaml import CSafeLoader as _BaseLoader
except ImportError:  # libyaml is in every wheel; a source build may lack it, and then reading is only slower
    from yaml import SafeLoader as _BaseLoader  # type: ignore[assignment]

_DEEPEST = 32  # levels; settings have six, and libyaml's composer crashes the process on some ten thousand
_MOST_VALUES = 20_000  # after aliases are expanded
_PLAIN = "plain"
_STANDARD = "tag:yaml.org,2002:"
_EXPLICIT = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})([Tt ]\d{1,2}:\d{1,2}:\d{1,2}(\.\d+)?(Z|[-+]\d\d:\d\d)?)?")
_LONGEST_NUMBER = 400  # characters; a float64 has at most some 309 digits before the point
_GO_PRINTS_INTEGERS_BELOW = 1e21  # encoding/json writes 24.0 as 24, and 1e21 as it is


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the text itself; `line` counts from 1, 0 where there is none."""

    line: int
    message: str
    remedy: str


class _Loader(_BaseLoader):
    """Composes nodes and leaves plain scalars to us."""

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: tuple[bool, bool] | bool) -> str:
        if kind is yaml.ScalarNode and isinstance(implicit, tuple) and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


def load(text: str) -> tuple[Any, list[Fault]]:
    """The value that `text` holds, and everything that is wrong with it; the value means nothing where something is."""
    try:
        if fault := _too_deep(text):
            return None, [fault]
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        return None, [_syntax(error, text)]
    if node is None:
        return None, []
    reading = _Reading()
    value = reading.read(node).value
    return value, reading.faults


def _too_deep(text: str) -> Fault | None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 0
            remedy = "remove brackets or indentation there; settings have six levels"
            return Fault(line, f"is nested more than {_DEEPEST} levels deep", remedy)
        if count > 3 * _MOST_VALUES:
            return Fault(0, f"holds more than {_MOST_VALUES} values", "keep only what one machine needs")
    return None


def _syntax(error: yaml.YAMLError, text: str) -> Fault:
    lines = text.splitlines()
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a ReaderError, which counts characters
        position = getattr(error, "position", 0)
        line = text.count("\n", 0, position) + 1
        return Fault(line, "holds a control character", f"remove it; type: sed -n {line}l FILE to see it")
    number = min(mark.line, max(len(lines) - 1, 0))
    tabs = [n for n, line in enumerate(lines, 1) if "\t" in line[: len(line) - len(line.lstrip())]]
    if tabs and tabs[0] <= number + 1:
        return Fault(
            tabs[0], "is indented with a tab, which YAML forbids", "use spaces; type: sed -i 's/\\t/  /g' FILE"
        )
    problem = str(getattr(error, "problem", "") or "cannot be read")
    if "another document" in problem:
        return Fault(
            number + 1, "begins a second document, and a stack file is one", "remove the line --- and what follows it"
        )
    if "undefined alias" in problem:
        remedy = "write the value out, or put a text that begins with * in quotes"
        return Fault(number + 1, "uses an alias (*name) before any anchor (&name) defines it", remedy)
    return Fault(
        number + 1,
        f"is not YAML: {problem}",
        "correct that line or the one above it: indentation, quotes and brackets, colons",
    )


@dataclass(frozen=True)
class _Read:
    """A value with how many values it holds and how deep it goes, aliases expanded."""

    value: Any
    size: int = 1
    height: int = 0


@dataclass
class _Reading:
    """Turns nodes into values. An aliased node is read once, so that no alias can make this slow."""

    faults: list[Fault] = field(default_factory=list)
    _done: dict[int, _Read] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _full: bool = False

    def read(self, node: yaml.Node) -> _Read:
        if id(node) in self._open:
            self._fault(node, "holds an alias to itself", "write the value out")
            return _Read(None)
        if id(node) not in self._done:
            self._open.add(id(node))
            self._done[id(node)] = self._bounded(node, self._fresh(node))
            self._open.discard(id(node))
        return self._done[id(node)]

    def _bounded(self, node: yaml.Node, read: _Read) -> _Read:
        if read.size <= _MOST_VALUES and read.height <= _DEEPEST:
            return read
        if not self._full:
            limits = f"{_MOST_VALUES} values or {_DEEPEST} levels"
            self._fault(
                node, f"grows through its aliases to more than {limits}", "write out what is needed, without aliases"
            )
        self._full = True
        return _Read(None)

    def _fresh(self, node: yaml.Node) -> _Read:
        if isinstance(node, yaml.ScalarNode):
            return _Read(self._scalar(node))
        kind = "seq" if isinstance(node, yaml.SequenceNode) else "map"
        if node.tag != f"{_STANDARD}{kind}":
            self._fault(node, f"has the tag {_tag(node.tag)}, which no setting needs", "remove the tag")
        if isinstance(node, yaml.SequenceNode):
            items = [self.read(inner) for inner in node.value]
            return _Read([item.value for item in items], *_extent(items))
        return self._mapping(node.value)

    def _mapping(self, pairs: list[tuple[yaml.Node, yaml.Node]]) -> _Read:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        first: dict[str, int] = {}
        parts: list[_Read] = []
        for key_node, value_node in pairs:
            read = self.read(value_node)
            parts.append(read)
            key = self._key(key_node)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            if key in first:
                self._fault(
                    key_node,
                    f"sets {shown(key)} a second time; the first is on line {first[key]}",
                    "keep one of the two lines",
                )
            first.setdefault(key, line)
            if key == "<<":
                merged = self._merged(value_node, read.value)
            else:
                own[key] = read.value
        return _Read({**merged, **own}, *_extent(parts))

    def _key(self, node: yaml.Node) -> str | None:
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if isinstance(key, str):
            return key
        if isinstance(node, yaml.ScalarNode):
            name = shown(node.value)
            self._fault(node, f"has the key {name}, which is not a text", f'put it in quotes: "{name}":')
        else:
            self._fault(node, "has a list or a map as a key", "use a word as the key")
        return None

    def _merged(self, node: yaml.Node, value: object) -> dict[str, Any]:
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self._fault(node, "merges (<<) something that is no map", "write the settings out")
            return {}
        return {key: inner for part in reversed(parts) for key, inner in part.items()}  # the first map wins

    def _scalar(self, node: yaml.ScalarNode) -> object:
        text = str(node.value)
        if node.tag == f"{_STANDARD}str":
            return text
        value = plain_scalar(text)
        if node.tag != _PLAIN:
            kinds = _EXPLICIT.get(node.tag.removeprefix(_STANDARD))
            if kinds is None:
                self._fault(node, f"has the tag {_tag(node.tag)}, which no setting needs", "remove the tag")
                return text
            if type(value) not in kinds:
                self._fault(
                    node, f"says {_tag(node.tag)}, and {shown(text)} is none", "remove the tag, or correct the value"
                )
                return text
        if isinstance(value, date):
            self._fault(
                node, f"holds {text}, which YAML takes for a date and Pulumi rewrites", f'put it in quotes: "{text}"'
            )
            return text
        if isinstance(value, float) and not math.isfinite(value):
            self._fault(node, f"holds {text}, which is not a finite number", "write a number, or put a text in quotes")
            return 0
        return value

    def _fault(self, node: yaml.Node, message: str, remedy: str) -> None:
        self.faults.append(Fault(node.start_mark.line + 1, message, remedy))


def _extent(parts: list[_Read]) -> tuple[int, int]:
    return 1 + sum(part.size for part in parts), 1 + max((part.height for part in parts), default=0)


def _tag(tag: str) -> str:
    return shown(tag.replace(_STANDARD, "!!"))


def plain_scalar(text: str) -> bool | int | float | str | date | None:
    """What an unquoted `text` is to Pulumi: `yes`, `on` and `1:30` are texts, 010 and 0o10 are eight, 24.0 is 24; a date is a date."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER or text[0] not in "+-.0123456789":
        return text
    if found := _DATE.fullmatch(text):
        try:
            return date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            return text
    plain = text.replace("_", "")
    number = _integer(plain)
    return number if number is not None else _float(plain, text)


def _integer(plain: str) -> int | None:
    found = _INTEGER.fullmatch(plain)
    if not found:
        return None
    sign, *digits = found.groups()
    value, base = next((d, b) for d, b in zip(digits, (16, 2, 8, 10), strict=True) if d is not None)
    number = int(f"{sign}{value}", base)
    highest = 2**63 - 1 if sign else 2**64 - 1
    return number if -(2**63) <= number <= highest else None


def _float(plain: str, text: str) -> float | str:
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    if not math.isfinite(number):
        return text
    # By way of its shortest digits, as Go prints it: 1.2345678901234568e+20 is 123456789012345680000.
    return int(Decimal(repr(number))) if number.is_integer() and abs(number) < _GO_PRINTS_INTEGERS_BELOW else number
