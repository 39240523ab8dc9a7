"""`lab env`: what plain `pulumi` needs to see the stacks that `lab` sees."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import sys
from pathlib import Path

import yaml

from stacks.errors import LabError

_STATE = Path("~/.local/state/local-ai-lab")


def prepare(root: Path) -> Path:
    """Makes the local backend's folder and the passphrase file (0600) where they are missing; returns the passphrase file.

    Raises LabError where the passphrase file can be read by others.
    """
    state = _STATE.expanduser()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = str((yaml.safe_load((root / "Pulumi.yaml").read_text(encoding="utf-8")).get("backend") or {}).get("url", ""))
    if url.startswith("file://~/"):
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)  # Pulumi takes ~ from the user database and not from HOME
        (home / url.removeprefix("file://~/")).mkdir(parents=True, exist_ok=True, mode=0o700)
    passphrase = state / "passphrase"
    try:
        descriptor = os.open(passphrase, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if passphrase.stat().st_mode & 0o077:
            raise LabError(f"{passphrase} can be read by others", remedy=f"type: chmod 600 {passphrase}") from None
        if not passphrase.read_text(encoding="utf-8").strip():
            raise LabError(f"{passphrase} is empty", remedy=f"if no stack was made with it yet: rm {passphrase}") from None
        return passphrase
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return passphrase


def run(root: Path) -> None:
    """Prints shell exports; the passphrase itself is never printed."""
    passphrase = prepare(root)
    sys.stdout.write(f"export PULUMI_CONFIG_PASSPHRASE_FILE={shlex.quote(str(passphrase))}\n")
    sys.stdout.write("export PULUMI_SKIP_UPDATE_CHECK=true\n")
