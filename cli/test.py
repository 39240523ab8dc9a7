"""`lab test`: the project's own tests in an environment of their own."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from cli.output import console
from stacks.errors import LabError


def environment(root: Path, name: str, locks: list[str]) -> Path:
    """The folder of the virtual environment `.venv-<name>`, made or brought up to date from hash locks. Raises LabError."""
    folder = root / f".venv-{name}"
    stamp = folder / ".installed"
    wanted = root / locks[0]
    if stamp.exists() and filecmp.cmp(stamp, wanted, shallow=False):
        return folder
    console(stderr=True).print(f"making .venv-{name} from {', '.join(locks)} (once)")
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=False)
    arguments = [argument for lock in locks for argument in ("-r", str(root / lock))]
    uv = root / ".venv" / "bin" / "uv"
    done = subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--require-hashes", *arguments], check=False
    )
    if done.returncode:
        raise LabError(
            f"the packages of {locks[0]} could not be installed", remedy="check the network, or set UV_DEFAULT_INDEX to your mirror"
        )
    shutil.copyfile(wanted, stamp)
    return folder


def run(root: Path, arguments: list[str]) -> None:
    """Runs ruff, mypy and pytest; with arguments only pytest, with those. Exits with the first failure's code."""
    tools = environment(root, "test", ["requirements/test.txt"]) / "bin"
    environment(root, "judges", ["requirements/judges.txt"])
    steps: list[list[str | Path]] = [[tools / "pytest", *arguments]]
    if not arguments:
        steps = [[tools / "ruff", "check"], [tools / "ruff", "format", "--check"], [tools / "mypy"], *steps]
    surroundings = {**os.environ, "PYTHONPATH": str(root)}
    for step in steps:
        code = subprocess.run(step, cwd=root, env=surroundings, check=False).returncode
        if code:
            sys.exit(code)
