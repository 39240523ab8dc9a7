"""The files in which a local backend of Pulumi keeps its stacks."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from pathlib import Path

import yaml

from stacks.settings import PROJECT


def local_backend(root: Path) -> Path | None:
    """The folder of a file backend: the one that the environment names, else the project's; None for a remote one."""
    project = yaml.safe_load((root / "Pulumi.yaml").read_text(encoding="utf-8")) or {}
    url = os.environ.get("PULUMI_BACKEND_URL") or str((project.get("backend") or {}).get("url", ""))
    if not url.startswith("file://"):
        return None
    path = url.removeprefix("file://")
    # Pulumi takes ~ from the user database and not from HOME.
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / path[2:] if path.startswith("~/") else Path(path)


def state_file(root: Path, stack: str) -> Path | None:
    """The file in which a local backend keeps the stack; None for a remote one."""
    backend = local_backend(root)
    return backend / ".pulumi" / "stacks" / PROJECT / f"{stack}.json" if backend else None


def remove_damaged_attributes(root: Path, stack: str) -> int:
    """Removes the side files `*.attrs` of the stack that a killed run had not finished; returns how many.

    Pulumi's local backend writes the state itself in one step, and the content type beside it in place; with half of
    such a file every command ends with "failed to load checkpoint: EOF", without it nothing is missing. Source:
    gocloud.dev/blob/fileblob, `setAttrs` and `getAttrs`.
    """
    backend = local_backend(root)
    if backend is None:
        return 0
    folder, removed = backend / ".pulumi", 0
    for pattern in (
        "meta.yaml.attrs",
        f"stacks/{PROJECT}/{stack}.json*.attrs",
        f"locks/organization/{PROJECT}/{stack}/*.attrs",
        f"history/{PROJECT}/{stack}/*.attrs",
    ):
        for path in folder.glob(pattern):
            with contextlib.suppress(FileNotFoundError):  # another run may be in the middle of it
                if not _is_json(path):
                    path.unlink()
                    removed += 1
    return removed


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
