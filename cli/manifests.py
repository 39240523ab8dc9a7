"""Writes a preview's Kubernetes objects as YAML files, for kubectl, scanners and reviewers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cli.stack_preview import StackPreview
from stacks.errors import LabError


def objects(shown: StackPreview) -> dict[str, dict[str, Any]]:
    """File name -> object, in dependency order; what a Secret holds stays hidden."""
    found: dict[str, dict[str, Any]] = {}
    for step in shown.preview.steps:
        if step.op != "delete" and step.type.startswith("kubernetes:") and "kind" in step.inputs:
            thing: dict[str, Any] = {**step.inputs}
            if thing["kind"] == "Secret":  # what it holds stays hidden; the object stays one that Kubernetes takes
                for field in ("data", "stringData"):
                    thing.pop(field, None)
                thing["metadata"] = {**thing["metadata"], "annotations": {"local-ai-lab/withheld": "its data is secret"}}
            found[f"{len(found) + 1:02d}-{thing['kind'].lower()}-{thing['metadata']['name']}.yaml"] = thing
    return found


def write(shown: StackPreview, folder: Path) -> list[str]:
    """Writes the files into a new or empty folder and returns their names. Raises LabError where other things lie there already."""
    files = objects(shown)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _unusable(f"{folder} is not an empty folder", "name a folder that does not exist yet")
        folder.mkdir(parents=True, exist_ok=True)
        for name, thing in files.items():
            (folder / name).write_text(to_yaml(thing), encoding="utf-8")
    except OSError as problem:
        raise _unusable(f"{str(folder)[:100]} cannot be written: {problem.strerror}", "name a folder that you may write to") from None
    return list(files)


def _unusable(message: str, remedy: str) -> LabError:
    error = LabError(message, remedy=remedy)
    error.exit_code = 2
    return error


class _Dumper(yaml.SafeDumper):
    """Quotes what an older YAML reader would take for a boolean; indents lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def to_yaml(thing: Mapping[str, Any]) -> str:
    """One object as YAML, keys in the order of the program."""
    return yaml.dump(dict(thing), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
