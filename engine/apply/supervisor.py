"""Stands between a run and one Command: python -I -S supervisor.py PARENT GRACE PROGRAM ARGUMENT...

It runs the Command in a process group of its own and ends with the Command's exit code. When it is told to stop, or when its parent
dies (however it dies), it ends the whole group, politely first, and leaves only when nobody in the group is left. It inherits
the run's lock and does not pass it on, so that nothing of a killed run works beside a new one. What has left the group on
purpose (a daemon with a session of its own) stays.
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
_NOT_FOUND = 127
_TICK = 0.05
_prctl: Callable[[int, int, int, int, int], int] = ctypes.CDLL(None, use_errno=True).prctl


def main(parent: int, grace: float, command: list[str]) -> int:
    """Runs the command and gives the exit code to end with."""
    stops = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*stops, signal.SIGCHLD})
    _prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that the group's orphans are reaped here and can be waited for
    if os.getppid() != parent:
        return _NOT_FOUND
    ourselves = os.getpid()
    child = os.fork()
    if child == 0:
        _become(ourselves, command)
    with contextlib.suppress(OSError):  # here too, lest the group be ended before the child has made it
        os.setpgid(child, child)
    code: int | None = None
    while code is None:
        caught = signal.sigwaitinfo({*stops, signal.SIGCHLD}).si_signo
        if caught in stops:
            return _end(child, grace)
        code = _reap(child)
    return code


def _become(parent: int, command: list[str]) -> None:
    try:
        os.setpgid(0, 0)
        _prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            return  # it died before the kernel was told to end us with it
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.closerange(3, 1 << 16)
        os.execvp(command[0], command)  # noqa: S606 (no shell unless the Command asks for one)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_FOUND)


def _reap(child: int) -> int | None:
    """Collects what has ended; gives the child's exit code once it has."""
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


def _end(group: int, grace: float) -> int:
    deadline = time.monotonic() + grace
    number = signal.SIGTERM
    while True:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return 128 + signal.SIGTERM
        except PermissionError:
            if time.monotonic() > deadline + grace:
                return 128 + signal.SIGTERM  # nobody is left but children that became another user (sudo)
        number = signal.SIGKILL if time.monotonic() > deadline else signal.Signals(signal.SIGCONT)
        time.sleep(_TICK)
        _reap(group)
        if signal.sigpending() & {signal.SIGINT}:
            number = signal.SIGKILL  # asked once more


if __name__ == "__main__":
    ended = main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
    sys.exit(ended if ended >= 0 else 128 - ended)
