"""Stands between a caller and one program: python -I -S process_guard.py CALLER LIMIT GRACE PROGRAM ARGUMENT...

It runs the program in a process group of its own and ends with its exit code. When it is told to stop, when CALLER (a
process id) is gone, however that went, or after LIMIT seconds (0: none; the code is 124 then), it ends the whole group,
politely for GRACE seconds. However the program ended, it then ends what that left behind in our session, such as
plugins in process groups of their own, and leaves last. What has left the session on purpose (a daemon with one of its
own) stays.

`host.system.command` puts it before the Pulumi CLI, so that nothing of a killed run works beside a new one, and behind
sudo,
which neither a caller's signals nor the kernel's parent-death signal cross.
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
_STOPPED = 128 + signal.SIGTERM
_NOT_FOUND = 127
_SWEEP = 3.0  # seconds that what was left behind has for ending by itself
_TICK = 0.2
_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_prctl: Callable[[int, int, int, int, int], int] = ctypes.CDLL(None, use_errno=True).prctl


def main(caller: int, limit: float, grace: float, command: list[str]) -> int:
    """Runs the command and gives the exit code to end with."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOPS, signal.SIGCHLD})
    if os.getppid() == caller:  # no sudo between: the kernel tells at once
        _prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    _prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that the group's orphans are reaped here and can be waited for
    started = _start_time(caller)
    if started is None:
        return _STOPPED
    ourselves = os.getpid()
    child = os.fork()
    if child == 0:
        _become(ourselves, command)
    with contextlib.suppress(OSError):  # here too, lest the group be ended before the child has made it
        os.setpgid(child, child)
    try:
        return _wait(child, caller, started, limit, grace)
    finally:
        _sweep()


def _wait(child: int, caller: int, started: str, limit: float, grace: float) -> int:
    deadline = time.monotonic() + limit if limit else None
    while True:
        caught = signal.sigtimedwait({*_STOPS, signal.SIGCHLD}, _TICK)
        if (caught and caught.si_signo in _STOPS) or _start_time(caller) != started:
            _end(child, grace)
            return _STOPPED
        if deadline and time.monotonic() > deadline:
            _end(child, grace)
            return _LATE
        if (code := _reap(child)) is not None:
            return code


def _start_time(process: int) -> str | None:
    """The start time that tells a process from a later one of the same number; None where it has ended."""
    fields = _fields(process)
    return None if fields is None else fields[19]


def _fields(process: int) -> list[str] | None:
    """The kernel's words of a living process, from its state on (proc(5), stat); None where it has ended."""
    try:
        # pathlib is slow to import
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def _become(parent: int, command: list[str]) -> None:
    try:
        os.setpgid(0, 0)
        _prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            return  # the caller ended before the kernel was told to end us with it
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        os.closerange(3, 1 << 16)
        os.execvp(command[0], command)  # noqa: S606 (no shell unless the caller asks for one)
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


def _end(group: int, grace: float) -> None:
    deadline = time.monotonic() + grace
    number = signal.SIGTERM
    while True:
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return
        # only children that became another user are left; sudo's end by themselves, behind another of us
        except PermissionError:
            if time.monotonic() > deadline + grace:
                return
        asked_again = signal.sigpending() & {signal.SIGINT}
        number = signal.SIGKILL if asked_again or time.monotonic() > deadline else signal.Signals(signal.SIGCONT)
        time.sleep(_TICK / 4)
        _reap(group)


def _sweep() -> None:
    """Ends what is left of the program in our session. Other users' processes (behind sudo) end by themselves."""
    deadline = time.monotonic() + _SWEEP
    while (left := _left_behind()) and time.monotonic() < deadline + _SWEEP:
        for process in left:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
        time.sleep(_TICK / 4)
        _reap(0)


def _left_behind() -> list[int]:
    """Living descendants of ours in our own session; orphans of them count, since we are their reaper."""
    children: dict[int, list[int]] = {}
    ours = str(os.getsid(0))
    for name in os.listdir("/proc"):  # noqa: PTH208 (pathlib is slow to import)
        if name.isdigit() and (fields := _fields(int(name))) and fields[3] == ours:
            children.setdefault(int(fields[1]), []).append(int(name))
    found = list(children.get(os.getpid(), []))
    for process in found:  # grows while it is walked
        found += children.get(process, [])
    return found


if __name__ == "__main__":
    ended = main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
    sys.exit(ended if ended >= 0 else 128 - ended)
