"""Python packages of a hash lock, in a folder of their own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from host.artifacts.images import contained
from host.system import command
from host.system.command import CommandFailed
from stacks.errors import HostError


def install(lock: Path, target: Path) -> None:
    """The packages of a hash lock into a folder of their own. Raises HostError."""
    shutil.rmtree(target, ignore_errors=True)
    words: list[str | Path] = [
        "--no-config",
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
        "--target",
        target,
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
    ]
    try:
        command.run([*contained.alone(target.with_name("busy")), contained.uv(), *words, "-r", lock], timeout=1800)
    except CommandFailed as error:
        if error.code == 127:
            raise HostError(
                "the installer uv was not found", remedy="./lab makes it part of .venv on its first run"
            ) from error
        raise HostError(
            f"the packages of {lock.name} could not be installed:\n{error}",
            remedy="check the network, or set UV_DEFAULT_INDEX to your mirror, and run the same command again",
        ) from error
