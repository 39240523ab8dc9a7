"""Runs a program as root for a caller who is not: python -I -S watched.py CALLER LIMIT PROGRAM ARGUMENT...

The caller cannot signal what `sudo` runs, and the kernel does not pass a caller's death through it. This stands behind `sudo` in
their place: when CALLER (a process id) is gone, when we are told to stop, or after LIMIT seconds (0: none), the program's whole group
is ended, politely for ten seconds. It ends with the program's exit code, or 124 where the limit was reached.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_LATE = 124  # as coreutils' timeout says it
_GRACE = 10.0  # seconds between the polite signal and the other one
_TICK = 0.2
_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_prctl: Callable[[int, int, int, int, int], int] = ctypes.CDLL(None, use_errno=True).prctl


def main(caller: int, limit: float, command: list[str]) -> int:
    """Runs the command and gives the exit code to end with."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOPS, signal.SIGCHLD})
    _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that the group's orphans are reaped here and can be waited for
    born = _born(caller)
    if born is None:
        return 128 + signal.SIGTERM
    ourselves = os.getpid()
    child = os.fork()
    if child == 0:
        _become(ourselves, command)
    with contextlib.suppress(OSError):  # here too, lest the group be ended before the child has made it
        os.setpgid(child, child)
    deadline = time.monotonic() + limit if limit else None
    while True:
        caught = signal.sigtimedwait({*_STOPS, signal.SIGCHLD}, _TICK)
        if (caught and caught.si_signo in _STOPS) or _born(caller) != born:
            _end(child)
            return 128 + signal.SIGTERM
        if deadline and time.monotonic() > deadline:
            _end(child)
            return _LATE
        if (code := _reap(child)) is not None:
            return code


def _born(process: int) -> str | None:
    """The start time that tells a process from a later one of the same number; None where it has ended."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (pathlib is slow to import)
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _become(parent: int, command: list[str]) -> None:
    try:
        os.setpgid(0, 0)
        _prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            return  # it died before the kernel was told to end us with it
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.execvp(command[0], command)  # noqa: S606 (an argument list; no shell)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _reap(child: int) -> int | None:
    code = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if process == 0:
            return code
        if process == child:
            code = os.waitstatus_to_exitcode(status)


def _end(group: int) -> None:
    deadline = time.monotonic() + _GRACE
    number = signal.SIGTERM
    while True:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        number = signal.SIGKILL if time.monotonic() > deadline else signal.Signals(signal.SIGCONT)
        time.sleep(_TICK / 4)
        _reap(group)


if __name__ == "__main__":
    ended = main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
    sys.exit(ended if ended >= 0 else 128 - ended)
