"""`lab test`: the project's own checks in environments of their own."""

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

FAST = ["-m", "not e2e and not slow and not long"]
"""What `--fast` leaves out: what takes more than a few seconds."""

FAST_FOLDERS = ["tests/unit", "tests/host"]
"""Where `--fast` looks, unless its words name a file or folder: logic and strict fakes."""

_WORKERS = "2"  # the smallest machine that CI has; more processors are used where there are
_STEPS = ("lint", "format", "types", "docs")


def environment(root: Path, name: str, locks: list[str]) -> Path:
    """The folder of the virtual environment `.venv-<name>`, made or brought up to date from hash locks. Raises
    LabError.
    """
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
        [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", "--require-hashes", *arguments],
        check=False,
    )
    if done.returncode:
        raise LabError(
            f"the packages of {locks[0]} could not be installed",
            remedy="check the network, or set UV_DEFAULT_INDEX to your mirror",
        )
    shutil.copyfile(wanted, stamp)
    return folder


def run(root: Path, arguments: list[str], *, everything: bool, fast: bool, only: str | None) -> None:
    """Runs style, types and tests, or a part of them. Words for pytest leave style and types out. Exits with the first
    failure's code.
    """
    if only is not None and only not in _STEPS:
        raise LabError(f"there is no step {only}", remedy=f"one of: {', '.join(_STEPS)}")
    tools = environment(root, "test", ["requirements/test.txt"]) / "bin"
    if not fast and only is None:
        environment(root, "policy", ["requirements/policy.txt"])
    surroundings = {**os.environ, "PYTHONPATH": str(root), "NO_MKDOCS_2_WARNING": "1"}
    if everything or only == "docs":
        environment(root, "docs", ["requirements/docs.txt"])
    for step in _steps(tools, arguments, everything=everything, fast=fast, only=only):
        code = subprocess.run(step, cwd=root, env=surroundings, check=False).returncode
        if code:
            sys.exit(code)


def _steps(
    tools: Path, arguments: list[str], *, everything: bool, fast: bool, only: str | None
) -> list[list[str | Path]]:
    workers = str(max(int(_WORKERS), os.cpu_count() or 1))
    # A file's tests stay together: they share fixtures that take seconds.
    pytest: list[str | Path] = [tools / "pytest", "-n", workers, "--dist", "loadfile"]
    style: list[list[str | Path]] = [[tools / "ruff", "check"], [tools / "ruff", "format", "--check"]]
    docs: list[str | Path] = [tools.parent.parent / ".venv-docs" / "bin" / "mkdocs", "build", "--quiet"]
    if only is not None:
        parts: dict[str, list[list[str | Path]]] = {
            "lint": style[:1],
            "format": [[tools / "ruff", "format"]],
            "types": [[tools / "mypy"]],
            "docs": [docs],
        }
        return parts[only]
    if fast:
        root = tools.parent.parent
        named = any((root / argument.split("::")[0]).exists() for argument in arguments)
        return [[*pytest, "-q", *FAST, *([] if named else FAST_FOLDERS), *arguments]]
    if arguments:
        return [[tools / "pytest", *arguments]]
    clusters: list[list[str | Path]] = [[tools / "pytest", "-m", "e2e"]] if everything else []
    site = [docs] if everything else []
    return [*style, [tools / "mypy"], *site, [*pytest, "-m", "not e2e"], *clusters]
