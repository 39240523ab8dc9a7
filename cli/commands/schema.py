"""`lab schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli.output import console
from stacks.errors import LabError
from stacks.settings import PROJECT, SECRET_KEYS, Settings

FILE = "stack.schema.json"


def document() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a whole stack file."""
    own = Settings.model_json_schema(by_alias=True)
    secret = {
        "type": "object",
        "properties": {"secure": {"type": "string"}},
        "required": ["secure"],
        "additionalProperties": False,
    }
    properties = {f"{PROJECT}:{key}": value for key, value in own["properties"].items()}
    properties |= {
        f"{PROJECT}:{key}": {**secret, "description": f"{text}; pulumi config set --secret {key}"}
        for key, text in SECRET_KEYS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A stack file of the local AI lab",
        "type": "object",
        "required": ["config"],
        "properties": {
            "config": {
                "type": "object",
                "required": [f"{PROJECT}:{key}" for key in own["required"]],
                "properties": properties,
                "patternProperties": {"^(pulumi|kubernetes|command):": {}},
                "additionalProperties": False,
            },
            "encryptionsalt": {"type": "string", "description": "written by `pulumi stack init`"},
        },
        "$defs": own["$defs"],
    }


def run(root: Path, *, check: bool) -> None:
    """Writes the schema beside the stack files, or with `check` compares it. Raises LabError where it is out of
    date.
    """
    path = root / FILE
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    if check:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            raise LabError(f"{FILE} is out of date", remedy="type: ./lab schema")
        console().print(f"{FILE} is up to date")
        return
    path.write_text(text, encoding="utf-8")
    console().print(f"wrote {FILE}; editors use it through the first line of each stack file")
