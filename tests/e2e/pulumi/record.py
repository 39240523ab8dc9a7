"""What Pulumi's own command plugin makes of Commands, as data that the stand-in is compared with.

`python -m tests.e2e.pulumi.record PLUGIN ORIGIN` records the cases of recorded_commands.json again with the program
PLUGIN;
ORIGIN says where that comes from. Cases with an origin of their own stay as they are.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from host.artifacts import pulumi_modules
from tests.conftest import ROOT
from tests.e2e.pulumi.project import Project

RECORDED = ROOT / "tests" / "data" / "recorded_commands.json"


def result(project: Project, case: dict[str, Any]) -> dict[str, Any]:
    """Brings up `before` and previews `after`: the state in between, and the steps."""
    project.up(case["before"])
    state = {name: {"inputs": r["inputs"], "outputs": r["outputs"]} for name, r in project.state().items()}
    steps = {name: telling(step) for name, step in project.previewed(case["after"]).items()}
    return {"state": state, "steps": steps}


def telling(step: dict[str, Any]) -> dict[str, Any]:
    """Of a step in a preview's document, what the plugin decides."""
    new = step.get("newState") or {}
    found = {
        "op": step["op"],
        "inputs": new.get("inputs"),
        "outputs": new.get("outputs"),
        "detailedDiff": step.get("detailedDiff"),
        "diffReasons": sorted(step.get("diffReasons") or ()),
        "replaceReasons": sorted(step.get("replaceReasons") or ()),
    }
    return {key: value for key, value in found.items() if value}


def _record(plugin: Path, origin: str) -> None:
    document = json.loads(RECORDED.read_text())
    cli = pulumi_modules.built("cli", pulumi_modules.default_cache())
    assert cli, "build the CLI first: python -m host.artifacts.pulumi_modules"
    document["origin"] = origin
    for name, case in document["cases"].items():
        if "origin" not in case:
            with tempfile.TemporaryDirectory() as folder:
                case.update(result(Project(Path(folder), cli, plugin, ROOT / ".venv"), case))
            sys.stdout.write(f"{name}: {[s['op'] for s in case['steps'].values()]}\n")
    RECORDED.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    _record(Path(sys.argv[1]).resolve(), sys.argv[2])
