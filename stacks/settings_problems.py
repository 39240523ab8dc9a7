"""Turns pydantic's errors into problems a stack-file author can act on: the path inside the file, and what to type."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stacks.errors import Problem

_UNION_TAG_KEYS = ("kind", "driver", "engine")


def problems_from(
    error: ValidationError | None, model: type[BaseModel], *, file: str, project: str, misplaced: Sequence[str], bare: Sequence[str]
) -> list[Problem]:
    """All problems of one stack file.

    `misplaced` are keys that hold a secret though none is declared there; `bare` are declared secrets that stand in clear text.
    """
    details = error.errors(include_url=False, include_input=True) if error else []
    problems = [_problem(detail, model, file, project) for detail in details if not _echo(detail, details)]
    problems += [
        Problem(file, f"{project}:{key}", "holds `secure:`, but nothing secret is declared there", f"write it in clear, or: pulumi config rm {key}")
        for key in misplaced
    ]
    problems += [
        Problem(file, f"{project}:{key}", "is a secret in clear text", f"take it out of the file and type: pulumi config set --secret {key}")
        for key in bare
    ]
    return problems


def _echo(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Pydantic calls a list too short when its items failed; the items' own errors say it better."""
    place = detail["loc"]
    return detail["type"] == "too_short" and any(len(d["loc"]) > len(place) and d["loc"][: len(place)] == place for d in details)


def path_of(location: Sequence[int | str], model: type[BaseModel]) -> str:
    """`('models', 0, 'port')` as `models[0].port`; the tags that pydantic adds for unions are left out."""
    text, here = "", _step_into(model)
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
            here = _step_into(_element(here))
        elif isinstance(here, dict):  # a union: `part` is the tag, not a key
            here = here.get(part)
        else:
            text += f".{part}" if text else str(part)
            here = _step_into(_field(here, part))
    return text


def _problem(detail: ErrorDetails, model: type[BaseModel], file: str, project: str) -> Problem:
    path = path_of(detail["loc"], model)
    message, remedy = _words(detail, model, path)
    return Problem(file, f"{project}:{path}" if path else "config", message, remedy)


def _words(detail: ErrorDetails, model: type[BaseModel], path: str) -> tuple[str, str]:
    kind, context, key = detail["type"], detail.get("ctx") or {}, path.rsplit(".", 1)[-1]
    found = _shorten(detail.get("input"))
    if kind == "extra_forbidden":
        known = _siblings(detail["loc"], model)
        return f"no such setting: {key}", f"remove it; known here: {', '.join(known)}" if known else "remove it"
    if kind == "missing":
        return "is missing", f"add: {key}: ...  (lab schema describes it)"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        tag = str(context.get("discriminator", "kind")).strip("'")
        expected = context.get("expected_tags") or ", ".join(f"'{t}'" for t in _tags(detail["loc"], model))
        said = f"{tag}: {context.get('tag')}" if kind == "union_tag_invalid" else f"no {tag}"
        return f"has {said}", f"write {tag}: one of {expected}"
    if kind == "value_error":
        sentence = str(context.get("error", detail["msg"]))
        cause, _, remedy = sentence.rpartition("; ")
        return (cause, remedy) if cause else (sentence, "correct the value")
    if detail.get("input") is None:
        return "is empty (null)", f"give {key} a value, or remove the line if it is optional"
    if kind == "string_pattern_mismatch":
        return f"{found} does not have the right form", f"use a value that matches {context.get('pattern')}"
    said = (detail["msg"][0].lower() + detail["msg"][1:]).replace("tuple", "list").replace(" after validation", "")
    return f"{found} is not accepted: {said}", f"write for {key} {_expectation(said)}"


def _expectation(said: str) -> str:
    """`input should be a valid integer` as `a valid integer`, `string should have at most 4 characters` as `one with at most ...`."""
    _, _, rest = said.partition(" should ")
    rest = rest or said
    if rest.startswith("have "):
        return f"one with {rest.removeprefix('have ')}"
    return rest.removeprefix("be ") if not re.match(r"be (greater|less)", rest) else f"a number {rest.removeprefix('be ')}"


def _shorten(value: object) -> str:
    text = repr(value) if not isinstance(value, Mapping | list) else ("a map" if isinstance(value, Mapping) else "a list")
    return text if len(text) <= 60 else f"{text[:57]}..."


def _step_into(annotation: Any) -> Any:
    """A model class, a dict of tag -> model for a discriminated union, or whatever else the annotation is."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        models = [m for m in members if isinstance(m, type) and issubclass(m, BaseModel)]
        if len(models) > 1:
            return {tag: m for m in models for tag in _tag_values(m)}
        return _step_into(members[0]) if len(members) == 1 else annotation
    return annotation


def _tag_values(model: type[BaseModel]) -> list[str]:
    for key in _UNION_TAG_KEYS:
        if key in model.model_fields:
            return [str(v) for v in get_args(model.model_fields[key].annotation)]
    return []


def _element(annotation: Any) -> Any:
    arguments = get_args(annotation)
    return arguments[0] if arguments else None


def _field(model: Any, name: str) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        for attribute, field in model.model_fields.items():
            if name in (attribute, field.alias):
                return field.annotation
    return None


def _walk(location: Sequence[int | str], model: type[BaseModel]) -> Any:
    here: Any = _step_into(model)
    for part in location:
        if isinstance(part, int):
            here = _step_into(_element(here))
        elif isinstance(here, dict):
            here = here.get(part)
        else:
            here = _step_into(_field(here, part))
    return here


def _siblings(location: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    here = _walk(location[:-1], model)
    return [f.alias or n for n, f in here.model_fields.items()] if isinstance(here, type) and issubclass(here, BaseModel) else []


def _tags(location: Sequence[int | str], model: type[BaseModel]) -> list[str]:
    here = _walk(location, model)
    return list(here) if isinstance(here, dict) else []
