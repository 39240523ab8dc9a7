"""Atomic files and locks that survive a kill."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stacks.errors import HostError


def write_atomic(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces `path` in one step: a reader sees the old text or the new one, never half; the folder is made if
    missing.
    """
    write_atomic_bytes(path, text.encode(), mode)


def write_atomic_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The same for bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(mode)
    temporary.replace(path)


@contextmanager
def lock(path: Path, *, what: str, wait: bool = True) -> Iterator[None]:
    """Holds an advisory lock for as long as the block runs; the kernel drops it when the process ends, however it ends.

    Raises HostError where another process holds it and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise HostError(f"another run works on {what}", remedy="wait for it, or end it, and try again") from None
        yield
