"""Room on the disk: asked for before work begins, and named when it runs out in the middle."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.system.command import CommandFailed
from stacks.errors import HostError

_GIB = 2**30


def free_gib(path: Path) -> float:
    """GiB free where `path` is or will be."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free / _GIB


def require(path: Path, need_gib: float, *, what: str) -> None:
    """Raises HostError where fewer than `need_gib` GiB are free at `path`."""
    free = free_gib(path)
    if free < need_gib:
        raise HostError(
            f"{what} needs {need_gib:.1f} GiB free at {path}, and there are {free:.1f} GiB",
            remedy=f"free {need_gib - free:.1f} GiB there (`du -xsh ~/.cache/*` shows much of it), and run the same "
            f"command again",
        )


@contextmanager
def full_disk_is_said(path: Path, *, what: str) -> Iterator[None]:
    """A full disk inside the block becomes a HostError that says so; every other failure passes."""
    try:
        yield
    except (OSError, CommandFailed) as error:
        full = (
            error.errno == errno.ENOSPC
            if isinstance(error, OSError)
            else "no space left on device" in error.output.lower()
        )
        if not full:
            raise
        raise HostError(
            f"the disk became full during {what}: {free_gib(path):.1f} GiB are left at {path}",
            remedy="free some GiB there and run the same command again: it goes on with what is done already",
        ) from error
