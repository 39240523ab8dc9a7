"""`lab env`: what plain `pulumi` needs to see the stacks that `lab` sees."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from stacks.errors import LabError

if TYPE_CHECKING:
    from host.artifacts.pulumi import Pulumi

_STATE = Path("~/.local/state/local-ai-lab")


def prepare(root: Path) -> Path:
    """Makes the local backend's folder and the passphrase file (0600) where they are missing; returns the passphrase
    file.

    Raises LabError where the passphrase file can be read by others.
    """
    from cli.pulumi.backend import local_backend

    state = _STATE.expanduser()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if backend := local_backend(root):
        backend.mkdir(parents=True, exist_ok=True, mode=0o700)
    passphrase = state / "passphrase"
    try:
        descriptor = os.open(passphrase, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if passphrase.stat().st_mode & 0o077:
            raise LabError(f"{passphrase} can be read by others", remedy=f"type: chmod 600 {passphrase}") from None
        if not passphrase.read_text(encoding="utf-8").strip():
            raise LabError(
                f"{passphrase} is empty", remedy=f"if no stack was made with it yet: rm {passphrase}"
            ) from None
        return passphrase
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return passphrase


def run(root: Path) -> None:
    """Prints shell exports, once the CLI is there; the passphrase itself is never printed."""
    pulumi = _pulumi(root)
    from cli.pulumi.workspace import surroundings

    for name, value in surroundings(root, pulumi).items():
        if name == "PATH":
            sys.stdout.write(f'export PATH={shlex.quote(str(pulumi.program.parent))}:"$PATH"\n')
        else:
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")


def run_pulumi(root: Path, arguments: list[str]) -> None:
    """Becomes the CLI with these arguments, in the stack's surroundings. Raises HostError where the CLI cannot
    be had.
    """
    pulumi = _pulumi(root)
    from cli.pulumi.workspace import surroundings

    os.chdir(root)
    environment = {**os.environ, **surroundings(root, pulumi)}
    os.execve(pulumi.program, ["pulumi", *arguments], environment)  # noqa: S606 (no shell: the person's own words)


def _pulumi(root: Path) -> Pulumi:
    """The CLI with the plugins of every stack file that can be planned. Raises HostError."""
    from cli.deployed import CACHE, get_pulumi
    from cli.load import load_plan
    from host.artifacts.pulumi import get
    from stacks.settings.stack_file import stack_names

    found = None
    for stack in stack_names(root):
        try:
            plan = load_plan(root, stack)[1]
        except LabError:
            continue  # `lab validate` says what is wrong with it
        found = get_pulumi(plan)
    return found or get(CACHE.expanduser(), {})
