"""One run at a time for each state: a lock that the kernel drops when its last holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from engine.errors import EngineError

_PRIVATE = 0o600
_FOLDER = 0o700
_PATIENCE = 30.0  # seconds for the Command of a killed run to end; host/watched.py takes less


@contextlib.contextmanager
def lock_state(state: Path) -> Iterator[int]:
    """Holds the state's lock and gives its descriptor.

    Whoever watches a Command (host/watched.py) inherits the descriptor: while one of a killed run is alive, no new run gets the lock.
    Raises EngineError where another run holds it; what a killed run left behind is waited for.
    """
    state.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER)
    path = state.with_name(f"{state.name}.lock")
    descriptor = _open(path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        try:
            _take(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # its holder removed the stack: a lock that nobody can find locks nobody out


def _take(descriptor: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            if holder.isdecimal() and _is_alive(int(holder)):
                message = f"another run works on this stack (process {holder})"
                raise EngineError(message, remedy="wait for it to end, or stop it with Ctrl-C") from None
            if time.monotonic() > end:
                message = "a Command of a killed run still works on this stack"
                raise EngineError(message, remedy="look at it with: ps -ef; end it and try again") from None
            time.sleep(0.1)
        else:
            return


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
