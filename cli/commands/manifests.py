"""Writes a stack's Kubernetes objects, or its compose file, as YAML for people and tools: from the plan alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components import rendered
from stacks.errors import Problem, SettingsError
from stacks.plan import Plan


def objects(plan: Plan) -> dict[str, dict[str, Any]]:
    """File name -> object, in dependency order; what a Secret holds is left out. Plain Docker has one compose file."""
    if plan.target == "docker":
        from host.drivers.docker.spec import escaped

        return {"compose.yaml": escaped(rendered.compose_document(plan))}
    found = {}
    for number, thing in enumerate(rendered.objects(plan).values(), 1):
        found[f"{number:02d}-{thing['kind'].lower()}-{thing['metadata']['name']}.yaml"] = thing
    return found


def write(plan: Plan, folder: Path) -> list[str]:
    """Writes the files into a new or empty folder and returns their names. Raises SettingsError for another folder."""
    files = objects(plan)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _unusable(f"{folder} is not an empty folder", "name a folder that does not exist yet")
        folder.mkdir(parents=True, exist_ok=True)
        for name, thing in files.items():
            (folder / name).write_text(to_yaml(thing), encoding="utf-8")
    except OSError as problem:
        said = f"{str(folder)[:100]} cannot be written: {problem.strerror}"
        raise _unusable(said, "name a folder that you may write to") from None
    return list(files)


def _unusable(message: str, remedy: str) -> SettingsError:
    return SettingsError([Problem("command line", "--manifests", message, remedy)])


class _Dumper(yaml.SafeDumper):
    """Quotes what an older YAML reader would take for a boolean; indents lists."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        """Labels that several places share are written out in each."""
        del data
        return True


def to_yaml(thing: Mapping[str, Any]) -> str:
    """One object as YAML, keys in the order of the program."""
    return yaml.dump(dict(thing), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
