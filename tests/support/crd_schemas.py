"""The schemas of resource definitions that other projects publish, as an API server with strict field checks reads
them.

The definitions are no part of this repository: LAB_UPSTREAM names their folder, by default `shared/upstream` beside the
checkout. CEL rules are not evaluated: an API server does that (tests/e2e/test_gateway_crds.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tests.support.stacks import ROOT

FOLDER = Path(os.environ.get("LAB_UPSTREAM", ROOT.parent / "shared" / "upstream"))
ENVOY_GATEWAY = "envoy-gateway-v1.9.0-crds.yaml"
GATEWAY_API = "gateway-api-for-envoy-gateway-v1.9.0-crds.yaml"
MISSING = not (FOLDER / ENVOY_GATEWAY).exists() or not (FOLDER / GATEWAY_API).exists()


def documents(file: str) -> Iterator[dict[str, Any]]:
    """All objects of one of the files."""
    with (FOLDER / file).open(encoding="utf-8") as text:
        yield from (document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document)


@cache
def schemas() -> Mapping[tuple[str, str], dict[str, Any]]:
    """(apiVersion, kind) -> a JSON Schema that refuses unknown fields."""
    found = {}
    for definition in (d for file in (ENVOY_GATEWAY, GATEWAY_API) for d in documents(file)):
        if definition["kind"] != "CustomResourceDefinition":
            continue
        spec = definition["spec"]
        for version in spec["versions"]:
            key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
            found[key] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def faults(thing: Mapping[str, Any]) -> list[str]:
    """Where an object contradicts its definition. Raises KeyError for a kind that has none."""
    schema = schemas()[thing["apiVersion"], thing["kind"]]
    errors = jsonschema.Draft202012Validator(schema).iter_errors(thing)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


def _strict(schema: Any, *, top: bool = True) -> Any:
    """Structural schemas drop what they do not know; strict field checks refuse it, and so does this."""
    if isinstance(schema, list):
        return [_strict(part, top=False) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes") and key != "format"}
    for key in ("anyOf", "oneOf", "allOf", "not", "items"):
        if key in made:
            made[key] = _strict(made[key], top=False)
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = _strict(made["additionalProperties"], top=False)
    if isinstance(made.get("properties"), dict):
        made["properties"] = {name: _strict(part, top=False) for name, part in made["properties"].items()}
        free = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in made
        if made.get("type") == "object" and not free:
            made["additionalProperties"] = False
    if top:
        made["properties"] = {**made["properties"], "metadata": {"type": "object"}}
    return made
