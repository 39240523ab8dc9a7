"""Records what the real Pulumi CLI says of every shipped stack: python -m tests.support.record_cli [NOTE].

NOTE says what is special about the CLI or the plugins that made the recording; it is kept in meta.json.

Needs `pulumi` and its plugins on PATH and a ready .venv; works in a copy, with a home and a backend of its own, and touches no cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.support.golden import DATA
from tests.support.stacks import ROOT, STACKS

RECORDINGS = DATA / "recordings"
PINNED = ("pulumi", "pulumi-kubernetes", "pulumi-command")
PROGRAM = ("Pulumi.yaml", "__main__.py", "stacks", "components", "host", "probes")
_NOISE = frozenset({"sourcePosition", "stackTrace", "duration", "created", "modified", "time", "diagnostics"})


def versions() -> dict[str, str]:
    """The SDK packages that a recording belongs to."""
    return {name: version(name) for name in PINNED}


def project_copy(folder: Path) -> Path:
    """The program and the stack files in `folder`, with the repository's environment beside them."""
    folder.mkdir(parents=True)
    for name in (*PROGRAM, *(f"Pulumi.{s}.yaml" for s in STACKS)):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def surroundings(scratch: Path) -> dict[str, str]:
    """An environment with nothing of the person's own in it."""
    for name in ("home", "state", "tmp"):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "PULUMI_HOME")}
    return {
        **kept,
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "PULUMI_BACKEND_URL": f"file://{scratch / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "recording",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def pulumi(project: Path, env: dict[str, str], *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One call of the real CLI."""
    command = ["pulumi", *arguments, "--non-interactive"]
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=check, timeout=240, stdin=subprocess.DEVNULL)


def normalised(value: Any, project: Path) -> Any:
    """A document without times, source positions, messages about plugins, and paths of the machine."""
    if isinstance(value, dict):
        return {k: normalised(v, project) for k, v in value.items() if k not in _NOISE}
    if isinstance(value, list):
        return [normalised(v, project) for v in value]
    return value.replace(str(project), "<project>") if isinstance(value, str) else value


def record(target: Path, note: str = "") -> None:
    """Writes config.json and preview.json of each stack, and meta.json, below `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        project = project_copy(Path(scratch) / "project")
        env = surroundings(Path(scratch))
        cli = pulumi(project, env, "version").stdout.strip()
        for stack in STACKS:
            pulumi(project, env, "stack", "init", stack)
            documents = {
                "config": json.loads(pulumi(project, env, "config", "--json", "-s", stack).stdout),
                "preview": json.loads(pulumi(project, env, "preview", "--json", "-s", stack).stdout),
            }
            folder = target / stack
            folder.mkdir(parents=True, exist_ok=True)
            for name, document in documents.items():
                (folder / f"{name}.json").write_text(json.dumps(normalised(document, project), indent=1, sort_keys=True) + "\n")
        (target / "meta.json").write_text(json.dumps({"cli": cli, **versions(), "note": note}, indent=1) + "\n")


if __name__ == "__main__":
    record(RECORDINGS, " ".join(sys.argv[1:]))
