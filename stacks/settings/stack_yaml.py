"""Reads the YAML on whose meaning all readers agree, so that `lab`, `pulumi` and editors see the same stack.

A plain scalar that PyYAML (YAML 1.1), YAML 1.2 or Pulumi's reader (Go's yaml.v3) take for different things is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from stacks.errors import shown

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # libyaml is in every wheel; a source build may lack it, and then reading is only slower
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

_DEEPEST = 32  # levels; settings have six
_MOST_VALUES = 20_000
_STANDARD = "tag:yaml.org,2002:"
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_MEANT = {**dict.fromkeys(("yes", "on"), "true"), **dict.fromkeys(("no", "off"), "false")}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FRACTION = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
# What YAML 1.2 or yaml.v3 take for a number or a date, underscores left out; for the rest PyYAML's own rules are asked.
_NUMBER = re.compile(
    r"[-+]?(0[xX][0-9a-fA-F]+|0[oO][-+]?[0-7]+|0[bB][-+]?[01]+|(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)"
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?")
_LARGEST = 2**63
_EXACT = 2**53  # below it a float64 holds every whole number


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the text itself; `line` counts from 1."""

    line: int
    message: str
    remedy: str


def load(text: str) -> tuple[Any, list[Fault]]:
    """The value that `text` holds, and everything that is wrong with it; the value means nothing where something is."""
    reader = _Reader(text)
    try:
        return reader.document(), reader.faults
    except yaml.YAMLError as error:
        return None, [*reader.faults, _syntax(error, text)]
    except _TooMuchError:
        return None, reader.faults


class _TooMuchError(Exception):
    """No stack file is like that, and to read on would exhaust the machine."""


class _Reader:
    """Makes values from the parser's events; `faults` are what was found so far."""

    def __init__(self, text: str) -> None:
        self.faults: list[Fault] = []
        self._count = 0
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._of_pyyaml: Any = yaml.resolver.Resolver()

    def document(self) -> Any:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        if not isinstance(end := next(self._events), yaml.StreamEndEvent):
            remedy = "remove the line --- and what follows it"
            self._fault(end, "begins a second document, and a stack file is one", remedy)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES:
            self._fault(event, f"holds more than {_MOST_VALUES} values", "keep only what one machine needs")
            raise _TooMuchError
        if event.anchor:
            remedy = "write the value out; a text that begins with & or * needs quotes"
            self._fault(event, "uses an anchor (&name) or an alias (*name)", remedy)
        if isinstance(event, yaml.AliasEvent):
            return None
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if depth == _DEEPEST:
            remedy = "remove brackets or indentation there; settings have six levels"
            self._fault(event, f"is nested more than {_DEEPEST} levels deep", remedy)
            raise _TooMuchError
        is_list = isinstance(event, yaml.SequenceStartEvent)
        self._check_tag(event, "seq" if is_list else "map")
        return self._list(depth + 1) if is_list else self._map(depth + 1)

    def _list(self, depth: int) -> list[Any]:
        values = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, depth))
        return values

    def _map(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key, value = self._value(event, depth), self._value(next(self._events), depth)
            if not isinstance(event, yaml.ScalarEvent):
                self._fault(event, "has a list or a map as a key", "use a word as the key")
            elif not isinstance(key, str):
                name = shown(event.value)
                self._fault(event, f"has the key {name}, which is not a text", f'put it in quotes: "{name}":')
            elif key in lines:
                first = f"the first is on line {lines[key]}"
                self._fault(event, f"sets {shown(key)} a second time; {first}", "keep one of the two lines")
            else:
                lines[key], values[key] = _line(event), value
        return values

    def _scalar(self, event: Any) -> Any:
        self._check_tag(event, "str")
        text = str(event.value)
        if event.tag or not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text) and abs(number := int(text)) < _LARGEST:
            return number
        if _FRACTION.fullmatch(text) and abs(fraction := float(text)) < _EXACT:
            return int(fraction) if fraction.is_integer() else fraction  # Pulumi hands 24.0 on as 24
        if self._is_ambiguous(text):
            message = f"holds {shown(text)}, which YAML readers take for different things"
            meant = _MEANT.get(text.lower(), "a decimal number such as 8 or 0.5")
            self._fault(event, message, f'put it in quotes: "{shown(text)}"; or write {meant}, if that is meant')
        return text

    def _is_ambiguous(self, text: str) -> bool:
        """Whether a reader takes a word that is none of ours for something else than a text."""
        number = _NUMBER.fullmatch(text[:1] + text[1:].replace("_", ""))
        of_pyyaml = self._of_pyyaml.resolve(yaml.ScalarNode, text, (True, False))
        return bool(number or _DATE.fullmatch(text) or of_pyyaml != f"{_STANDARD}str")

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, f"{_STANDARD}{kind}"):
            tag = shown(event.tag.replace(_STANDARD, "!!"))
            self._fault(event, f"has the tag {tag}, which no setting needs", "remove the tag")

    def _fault(self, event: Any, message: str, remedy: str) -> None:
        self.faults.append(Fault(_line(event), message, remedy))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _syntax(error: yaml.YAMLError, text: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a ReaderError, which counts characters
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        return Fault(line, "holds a control character", f"remove it; type: sed -n {line}l FILE to see it")
    lines = text.splitlines()
    number = min(mark.line, max(len(lines) - 1, 0)) + 1
    tabs = [n for n, line in enumerate(lines[:number], 1) if "\t" in line[: len(line) - len(line.lstrip())]]
    if tabs:
        remedy = "use spaces; type: sed -i 's/\\t/  /g' FILE"
        return Fault(tabs[0], "is indented with a tab, which YAML forbids", remedy)
    problem = str(getattr(error, "problem", "") or "cannot be read")
    remedy = "correct that line or the one above it: indentation, quotes and brackets, colons"
    return Fault(number, f"is not YAML: {problem}", remedy)
