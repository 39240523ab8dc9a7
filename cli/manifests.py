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
            if thing["kind"] == "Secret":
                for field in ("data", "stringData"):
                    if isinstance(thing.get(field), Mapping):
                        thing[field] = dict.fromkeys(thing[field], "[secret]")
            found[f"{len(found) + 1:02d}-{thing['kind'].lower()}-{thing['metadata']['name']}.yaml"] = thing
    return found


def write(shown: StackPreview, folder: Path) -> list[str]:
    """Writes the files into a new or empty folder and returns their names. Raises LabError where other things lie there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        error = LabError(f"{folder} is not an empty folder", remedy="name a folder that does not exist yet")
        error.exit_code = 2
        raise error
    files = objects(shown)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, thing in files.items():
            (folder / name).write_text(to_yaml(thing), encoding="utf-8")
    except OSError as problem:
        raise LabError(f"{folder} cannot be written: {problem.strerror}", remedy="name a folder that you may write to") from None
    return list(files)


class _Dumper(yaml.SafeDumper):
    """Quotes what an older YAML reader would take for a boolean; indents lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def to_yaml(thing: Mapping[str, Any]) -> str:
    """One object as YAML, keys in the order of the program."""
    return yaml.dump(dict(thing), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
