"""Turns pydantic's errors into problems a stack-file author can act on: the path inside the file, and what to type.

Everything that is said about a setting (its bounds, its words, an example) is read from the JSON Schema that editors
use too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stacks.errors import Problem, shown

UNDECLARED = "holds `secure:`, but nothing secret is declared there"
_ENVIRONMENT = "environment"  # its values are never shown: people put secrets there
_NO_MAP = ("dict_type", "model_type", "model_attributes_type")
_IS_NOT = {
    **dict.fromkeys(_NO_MAP, "a map"),
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing", "int_parsing_size"), "a whole number"),
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_unicode": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
}


_COMPLAINTS = {  # filled from what pydantic says of the error
    "greater_than_equal": "is too small: the least is {ge}",
    "greater_than": "is too small: it must be above {gt}",
    "less_than_equal": "is too large: the most is {le}",
    "string_too_long": "is too long: at most {max_length} characters are allowed",
    "string_pattern_mismatch": "does not have the right form",
    "too_long": "has {actual_length} entries, and at most {max_length} are allowed",
}
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "this text", list: "a list", dict: "a map"}
_LONGEST_TOLD = 200


class Fault(ValueError):
    """What a validator found, one or several: (path below the validator's own place, message, remedy)."""

    def __init__(self, *found: tuple[str, str, str]) -> None:
        super().__init__("; ".join(message for _, message, _ in found))
        self.found = found


@dataclass(frozen=True)
class _Place:
    """A place in a stack file: its path for people, and the schemas of the setting there and of what holds it."""

    path: str = ""
    key: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    parent: Mapping[str, Any] = field(default_factory=dict)

    @property
    def optional(self) -> bool:
        return self.key not in self.parent.get("required", ()) and self.key in self.parent.get("properties", ())


def problems_from(
    error: ValidationError | None,
    model: type[BaseModel],
    *,
    file: str,
    project: str,
    misplaced: Sequence[str],
    bare: Sequence[str],
) -> list[Problem]:
    """All problems of one stack file.

    `misplaced` are keys that hold a secret though none is declared there; `bare` are declared secrets that stand in
    clear text.
    """
    details = error.errors(include_url=False, include_input=True) if error else []
    schema = _Schema(model.model_json_schema(by_alias=True)) if details else None
    problems = []
    for detail in details:
        if schema and not _echo(detail, details) and (not detail["loc"] or detail["loc"][0] not in misplaced):
            problems += [Problem(file, _full(path, project), *words) for path, words in _found(detail, schema)]
    problems += [
        Problem(
            file, _full(shown(key), project), UNDECLARED, f"write it in clear, or type: pulumi config rm {shown(key)}"
        )
        for key in misplaced
    ]
    problems += [
        Problem(
            file,
            _full(key, project),
            "is a secret in clear text",
            f"take it out of the file and type: pulumi config set --secret {key}",
        )
        for key in bare
    ]
    return problems


def _full(path: str, project: str) -> str:
    return f"{project}:{path}" if path else "config"


def _echo(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Pydantic calls a list too short when its items failed; the items' own errors say it better."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(
        len(d["loc"]) > len(place) and d["loc"][: len(place)] == place for d in details
    )


class _Schema:
    """The JSON Schema of a stack file, walked along pydantic's locations."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = root.get("$defs", {})
        self.root = root

    def resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema behind references and behind «or null»; keys beside a reference win."""
        while "$ref" in schema or "anyOf" in schema:
            beside = {k: v for k, v in schema.items() if k not in ("$ref", "anyOf")}
            inner = (
                self._definitions[schema["$ref"].rpartition("/")[2]]
                if "$ref" in schema
                else _first_kind(schema["anyOf"])
            )
            schema = {**inner, **beside}
        return schema

    def tags(self, schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """The key that tells the members of a union apart, and the members by its value; empty for anything else."""
        discriminator = schema.get("discriminator", {})
        mapping = {
            tag: self.resolve({"$ref": reference}) for tag, reference in discriminator.get("mapping", {}).items()
        }
        return discriminator.get("propertyName", ""), mapping

    def place(self, location: Sequence[int | str]) -> _Place:
        """`('models', 0, 'port')` as `models[0].port`; the tags that pydantic adds for unions are left out."""
        here = _Place(schema=self.root)
        for part in location:
            schema = here.schema
            members = self.tags(schema)[1]
            if isinstance(part, int):
                here = _Place(f"{here.path}[{part}]", f"[{part}]", self.resolve(schema.get("items", {})), schema)
            elif part in members:
                here = _Place(here.path, here.key, members[part], here.parent)
            else:
                inner = schema.get("properties", {}).get(part) or schema.get("additionalProperties") or {}
                here = _Place(f"{here.path}.{shown(part)}".lstrip("."), part, self.resolve(inner), schema)
        return here


def _first_kind(members: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(member for member in members if member.get("type") != "null")


def _found(detail: ErrorDetails, schema: _Schema) -> list[tuple[str, tuple[str, str]]]:
    place = schema.place(detail["loc"])
    context = detail.get("ctx") or {}
    if isinstance(fault := context.get("error"), Fault):
        return [(f"{place.path}{path}".lstrip("."), (message, remedy)) for path, message, remedy in fault.found]
    if detail["type"] in ("union_tag_not_found", "union_tag_invalid"):
        tag, members = schema.tags(place.schema)
        remedy = f"write {tag}: {_either(members)}"
        value = detail["input"].get(tag) if isinstance(detail["input"], Mapping) else None
        message = f"{_told(value)} is not known here" if value is not None else "is missing"
        return [(f"{place.path}.{tag}", (message, remedy))]
    return [(place.path, _words(detail, place, schema))]


def _words(detail: ErrorDetails, place: _Place, schema: _Schema) -> tuple[str, str]:
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return _unknown(place)
    if kind == "json_invalid":
        if "recursion" in detail["msg"]:
            return "is nested too deeply", "remove brackets or indentation; settings have six levels"
        return "holds text that is not valid Unicode", "type the text again; half of a character pair is missing"
    example = _example(place, schema)
    if kind == "missing":
        return "is missing", f"add {example}"
    if value is None or value == "":
        return "is empty", f"remove the line, or write {example}" if place.optional else f"write {example}"
    if kind == "too_short":
        return "is an empty list", f"write {example}"
    told = _kind(value) if _ENVIRONMENT in detail["loc"] else _told(value)
    return f"{told} {_complaint(kind, detail.get('ctx') or {})}", f"write {example}"


def _unknown(place: _Place) -> tuple[str, str]:
    known = list(place.parent.get("properties", ()))
    near = difflib.get_close_matches(place.key[:100], known, n=1)
    if near:
        return f"no such setting: {shown(place.key)}", f"write {near[0]} instead, or remove it"
    return (
        f"no such setting: {shown(place.key)}",
        f"remove it; known here: {', '.join(known)}" if known else "remove it",
    )


def _complaint(kind: str, context: Mapping[str, Any]) -> str:
    if kind in _IS_NOT:
        return f"is not {_IS_NOT[kind]}"
    words = _COMPLAINTS.get(kind, "is not known here")
    return words.format(
        **{key: _number(value) if isinstance(value, int | float) else value for key, value in context.items()}
    )


def _either(words: Iterable[object]) -> str:
    *others, last = map(str, words)
    return f"{', '.join(others)} or {last}" if others else last


def _example(place: _Place, schema: _Schema) -> str:
    """What one could write at a place: an example, and in words what else is allowed."""
    here = place.schema
    key = "" if place.key.startswith("[") else f"{place.key}: "
    tag, members = schema.tags(here)
    words = here.get("enum") or ([here["const"]] if "const" in here else [])
    if here.get("type") == "boolean":
        words = ["true", "false"]
    if words:
        return f"{key}{_either(words)}"
    if members:
        return f"{key}and below it, indented, {tag}: {_either(members)}"
    if here.get("type") == "object":
        inner = f"its settings: {', '.join(here['properties'])}" if "properties" in here else 'NAME: "text"'
        return f"{key.strip() or '-'} and below it, indented, {inner}"
    if here.get("type") == "array":
        needed = ", ".join(f"{name}: ..." for name in schema.resolve(here.get("items", {})).get("required", ()))
        return f"{key.strip()} and below it one entry for each, which begins with a hyphen: - {needed}"
    return _scalar_example(key, here)


def _scalar_example(key: str, here: Mapping[str, Any]) -> str:
    form = _form(here)
    sample = next((e for e in [*here.get("examples", ()), here.get("default")] if e is not None), None)
    if sample is None:
        return f"{key}and {form}"
    if isinstance(sample, str) and not sample.strip("0123456789."):
        sample = f'"{sample}"'  # else YAML would read a number
    return f"{key}{sample}, or another {form.partition(' ')[2]}"


def _form(schema: Mapping[str, Any]) -> str:
    if said := schema.get("patternErrorMessage"):
        return f"a {said}"
    if schema.get("type") not in ("integer", "number"):
        return "a text in quotes"
    parts = ["a whole number" if schema["type"] == "integer" else "a number"]
    if "minimum" in schema:
        parts.append(f"from {schema['minimum']} to")
    elif "exclusiveMinimum" in schema:
        parts.append(f"above {_number(schema['exclusiveMinimum'])} and at most")
    return " ".join([*parts, _number(schema["maximum"])])


def _number(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value:.0f}"


def _told(value: object) -> str:
    """A value as one would write it in the file; long ones, lists and maps by their kind."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and len(value) > _LONGEST_TOLD:
        return f"a text of {len(value):,} characters"
    return shown(repr(value)) if isinstance(value, str | int | float) else _kind(value)


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "this")
