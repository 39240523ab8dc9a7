"""Ways to get a stack file wrong, derived from the JSON Schema of stack files and from a stack's own file.

Every case is invalid by the schema itself: a value that the schema allows is never made.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cli.commands.schema import document as schema_document
from stacks.settings import PROJECT
from tests.support.stacks import ROOT

HUGE = 10**400
LONG = "x" * 100_000
_REMOVE = object()
_ODD_TEXTS = (
    "",
    " ",
    "-x",
    "x-",
    "Ein Name",
    "a_b",
    "名前",
    "é",
    "phi\u202e3",
    "a\nb",
    "a\n",
    "a\tb",
    "a\x1b[31mb",
    "a\x00b",
    "a\ufeff",
    "~",
    "/",
    LONG,
)

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Case:
    """One wrong stack file: `config` as it stands below `config:`, and what a refusal must name."""

    name: str
    config: Mapping[str, Any]
    names: tuple[str, ...]

    @property
    def yaml(self) -> str:
        """The stack file's text."""
        return yaml.safe_dump({"config": dict(self.config)}, sort_keys=False)

    @property
    def unreadable(self) -> bool:
        """Whether the file is refused as such, because YAML readers take one of its numbers for different things."""
        return self.infinite or any(isinstance(value, int) and abs(value) >= 2**63 for value in _scalars(self.config))

    @property
    def infinite(self) -> bool:
        """Whether it holds what no configuration can."""
        return any(isinstance(value, float) and not math.isfinite(value) for value in _scalars(self.config))


def _scalars(value: object) -> Iterator[object]:
    if isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _scalars(inner)
    else:
        yield value


@dataclass(frozen=True)
class Node:
    """A setting of the schema, whether the file sets it or not."""

    path: Path
    schema: Mapping[str, Any]
    required: bool
    nullable: bool


def cases_of_all(stacks: Iterable[str]) -> list[Case]:
    """Every case for several shipped stacks; what the schema says the same of at the same place is tried on the first
    of them only.
    """
    tried: set[str] = set()
    return [case for stack in stacks for case in cases(stack, tried)]


def cases(stack: str, tried: set[str]) -> list[Case]:
    """The cases for one shipped stack that are not among those `tried`, which grows; names are unique."""
    own = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    own = {key.removeprefix(f"{PROJECT}:"): value for key, value in own.items() if not key.startswith("pulumi:")}
    found = {}
    for node in nodes(own):
        place = json.dumps([[p if isinstance(p, str) else 0 for p in node.path], node.schema, node.nullable])
        if place in tried:
            continue
        tried.add(place)
        for label, value in _wrong_values(node):
            found[f"{stack} {dotted(node.path)} {label}"] = (node.path, value, _named(node.path))
        if node.required:
            found[f"{stack} {dotted(node.path)} missing"] = (node.path, _REMOVE, _named(node.path))
        if node.schema.get("type") == "object":
            for key in _wrong_keys(node):
                named = f"{_named(node.path)}.{key}" if key.isidentifier() and len(key) < 40 else _named(node.path)
                found[f"{stack} {dotted(node.path)} unknown key {key[:20]!r}"] = ((*node.path, key), "x", named)
    for key in ("zzz", "Machine", "model", "gpu", "api_key"):
        found[f"{stack} unknown key {key!r}"] = ((key,), "x", _named((key,)))
    return [Case(name, _prefixed(_changed(own, path, value)), (named,)) for name, (path, value, named) in found.items()]


def nodes(own: Mapping[str, Any]) -> Iterator[Node]:
    """Every setting that the schema knows at the places that the file has, and one level of what it leaves out."""
    whole = schema_document()
    definitions = whole["$defs"]
    config = whole["properties"]["config"]

    def walk(path: Path, schema: Mapping[str, Any], value: Any, *, required: bool) -> Iterator[Node]:
        schema, nullable = _resolved(schema, definitions, value)
        yield Node(path, schema, required, nullable)
        if schema.get("type") == "array":
            for index, item in enumerate(value or []):
                yield from walk((*path, index), schema["items"], item, required=False)
        for key, inner in schema.get("properties", {}).items():
            below = value.get(key) if isinstance(value, Mapping) else None
            yield from walk((*path, key), inner, below, required=key in schema.get("required", ()))
        if isinstance(schema.get("additionalProperties"), Mapping):
            yield from walk((*path, "VLLM_LOGGING_LEVEL"), schema["additionalProperties"], None, required=False)
        for inner in schema.get("patternProperties", {}).values():
            yield from walk((*path, "pool"), inner, None, required=False)

    for key, schema in config["properties"].items():
        name = key.removeprefix(f"{PROJECT}:")
        if "secure" not in schema.get("properties", {}):
            yield from walk((name,), schema, own.get(name), required=key in config["required"])


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any], value: Any) -> tuple[Mapping[str, Any], bool]:
    nullable = False
    while True:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        elif "discriminator" in schema:
            if value is None:  # which of them it would be nobody can tell
                return {"type": "object", "properties": {}}, nullable
            chooser = schema["discriminator"]
            schema = {"$ref": chooser["mapping"][value[chooser["propertyName"]]]}
        elif "anyOf" in schema:
            nullable = True
            schema = next(s for s in schema["anyOf"] if s.get("type") != "null")
        else:
            return schema, nullable


def _wrong_values(node: Node) -> Iterator[tuple[str, Any]]:
    schema = node.schema
    kind = schema["type"]
    if not node.nullable:
        yield "null", None
    wrong = {
        "integer": ["x", "5", "", 1.5, True, [], {}, [5], {"value": 5}],
        "number": ["x", "0.5", "", True, [], {}, [0.5]],
        "boolean": ["yes", "true", "", 1, 0, 1.5, [], {}],
        "string": [5, 1.5, True, False, [], {}, ["x"], {"x": "y"}],
        "object": ["x", "", "{}", 5, 1.5, True, [], [{}]],
        "array": ["x", "", "[]", 5, 1.5, True, {}],
    }[kind]
    if len(node.path) == 1:  # here Pulumi hands a program the same words for a map and for a text that looks like one
        wrong = [value for value in wrong if value not in ("{}", "[]")]
    yield from ((f"of the wrong type {_short(value)}", value) for value in wrong)
    if kind in ("integer", "number"):
        yield from _out_of_range(schema)
        yield from ((f"not a number {value}", value) for value in (math.nan, math.inf, -math.inf))
    if kind == "array":
        yield from (("with entries of the wrong type", [5, "x", None]), ("in a list", [[]]))
        if schema.get("minItems"):
            yield "without entries", []
    if kind == "string":
        yield from ((f"odd text {_short(text)}", text) for text in _odd_texts(node))


def _out_of_range(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if "enum" in schema:
        yield from ((f"not one of them {value}", value) for value in (min(schema["enum"]) - 1, max(schema["enum"]) + 1))
        return
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema["maximum"]
    step = 1 if schema["type"] == "integer" else 0.001
    below = low if "exclusiveMinimum" in schema else low - step
    yield from (
        ("below", below),
        ("far below", -HUGE),
        ("above", high + step),
        ("far above", HUGE),
        ("above 64 bits", 2**64),
    )


def _to_the_end(pattern: str) -> str:
    """With Python's own end of a text in place of `$`, which also stands before a last line end."""
    return f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern


def _odd_texts(node: Node) -> Iterator[str]:
    words = node.schema.get("enum") or ([node.schema["const"]] if "const" in node.schema else [])
    if words:
        yield from (
            text for text in (*_ODD_TEXTS, *(w.upper() for w in words), *(f"{w} " for w in words)) if text not in words
        )
    elif "pattern" in node.schema:
        longest = node.schema.get("maxLength", math.inf)
        yield from (
            text
            for text in _ODD_TEXTS
            if len(text) > longest or not re.search(_to_the_end(node.schema["pattern"]), text)
        )
    else:  # an environment's value: almost anything goes
        assert (node.path[0], node.path[2]) == ("models", "environment"), node.path
        yield from ("a\x1b[31mb", "a\x00b", "a\u202eb", LONG)


def _wrong_keys(node: Node) -> Iterator[str]:
    if "properties" in node.schema:
        if node.schema["properties"]:
            yield from ("zzz", "", "Kind", "a\x1b[31m", "名前", LONG)
        for key in node.schema["properties"]:
            snake = re.sub(r"(?<=[a-z])([A-Z])", lambda m: "_" + m.group(1).lower(), key)
            if snake != key:
                yield snake
                return
    elif patterns := node.schema.get("patternProperties"):  # a label's key: almost anything else goes
        odd = ("", " ", "A B", "-x", "x-", "a/b/c", "/a", "a\x1b[31m", "名前", LONG)
        yield from (key for key in odd if not any(re.search(_to_the_end(p), key) for p in patterns))
    else:
        yield from (
            "lower",
            "",
            "A B",
            "A-B",
            "1A",
            "HF_TOKEN",
            "VLLM_API_KEY",
            "NVIDIA_VISIBLE_DEVICES",
            "MY_PASSWORD",
            "a\x1b[31m",
            LONG,
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:12]}... ({len(text)})"


def dotted(path: Path) -> str:
    """`models[0].port`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _named(path: Path) -> str:
    return f"{PROJECT}:{dotted(path)}"


def _changed(own: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(own))
    here: Any = changed
    for part in path[:-1]:
        here = here[part] if isinstance(part, int) else here.setdefault(part, {})
    if value is _REMOVE:
        here.pop(path[-1], None)  # what is left out already is missing, too
    else:
        here[path[-1]] = value
    return changed


def _prefixed(own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pulumi:disable-default-providers": ["kubernetes"],
        **{f"{PROJECT}:{key}": value for key, value in own.items()},
    }
