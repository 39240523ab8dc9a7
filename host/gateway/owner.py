"""Whose the gateway's files are: the user's own, and its container runs as that user; root's go to nobody's."""

from __future__ import annotations

import os
from pathlib import Path

from host.system import files
from stacks import names


def ids() -> tuple[int, int]:
    """User and group of the files and of the container's process."""
    own = os.getuid(), os.getgid()
    return own if own[0] else (names.ENGINE_UID, names.ENGINE_UID)


def write_private(path: Path, text: str) -> bool:
    """Replaces a file that only its owner may read, in a folder that only its owner may enter; False where it stood
    there already.
    """
    user, group = ids()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    if path.parent.stat().st_uid != user:
        os.chown(path.parent, user, group)
    if path.exists():
        there = path.stat()
        if there.st_mode & 0o777 == 0o600 and there.st_uid == user and path.read_text(encoding="utf-8") == text:
            return False
    temporary = path.with_name(f".new-{path.name}")
    files.write_atomic(temporary, text, 0o600)
    if temporary.stat().st_uid != user:
        os.chown(temporary, user, group)
    temporary.replace(path)
    return True
