"""Long-running programs without a service manager: records outlive the process that made them, and a recycled PID is
never signalled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from host.system import command, files
from stacks.errors import HostError

_LOG_LIMIT = 32 << 20
# The child writes its own record before it becomes the program, and holds the launch lock until then: no kill of ours,
# at whatever
# instant, leaves a process that the next run does not know.
_LAUNCH = """set -e
record=$1; shift
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done
shift
start=$(cut -d' ' -f22 /proc/$$/stat); read -r boot < /proc/sys/kernel/random/boot_id
printf '%s %s %s\\n' $$ "$start" "$boot" > "$record.new"
mv "$record.new" "$record"
exec "$@" < /dev/null
"""


@dataclass(frozen=True)
class Program:
    """One daemon: its words, its environment, and the text of every file it reads at its start."""

    name: str
    arguments: Sequence[str]
    reads: Mapping[str, str] = field(default_factory=dict)

    def digest(self, environment: Mapping[str, str]) -> str:
        """Changes whenever the daemon has to be started again to be what it should be."""
        text = json.dumps([list(self.arguments), dict(sorted(environment.items())), dict(sorted(self.reads.items()))])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Running:
    """A process that is certainly the one recorded. `started` is in clock ticks after boot."""

    pid: int
    started: int

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return uptime - self.started / os.sysconf("SC_CLK_TCK")


class Supervisor:
    """Starts, finds and stops the programs whose records lie in `folder`; their output goes to `logs`."""

    def __init__(
        self,
        folder: Path,
        logs: Path,
        *,
        cgroups: Sequence[Path] = (),
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._folder, self._logs = folder, logs
        self._cgroups, self._prefix = tuple(cgroups), tuple(prefix)
        self._environment = dict(environment or {})

    def find(self, name: str) -> Running | None:
        """The recorded process if it is alive and the same; a pid that the kernel gave to somebody else does not
        count.
        """
        try:
            pid_text, start_text, boot = (self._folder / f"{name}.pid").read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            return None
        if boot != Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip():
            return None
        recorded = Running(int(pid_text), int(start_text))
        return recorded if start_time(recorded.pid) == recorded.started else None

    def is_current(self, program: Program) -> bool:
        """Whether the running process was started as `program` says today."""
        file = self._folder / f"{program.name}.digest"
        return file.exists() and file.read_text(encoding="utf-8") == program.digest(self._environment)

    def forget_digest(self, name: str) -> None:
        """Makes the next look at the program find it out of date, even if we die before it is restarted."""
        (self._folder / f"{name}.digest").unlink(missing_ok=True)

    def start(self, program: Program) -> Running:
        """Starts a program that does not run. Raises HostError where it does not come up."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._logs.mkdir(parents=True, exist_ok=True)
        record = self._folder / f"{program.name}.pid"
        with files.lock(self._folder / f"{program.name}.launch", what=f"the start of {program.name}"):
            pass  # a child of a killed run may still be on its way to its record
        if found := self.find(program.name):
            return found
        record.unlink(missing_ok=True)
        self.forget_digest(program.name)
        with self._log(program.name) as log, (self._folder / f"{program.name}.launch").open("a") as held:
            fcntl.flock(held.fileno(), fcntl.LOCK_EX)
            words = [
                "sh",
                "-c",
                _LAUNCH,
                "launch",
                str(record),
                *map(str, self._cgroups),
                "--",
                *self._prefix,
                *program.arguments,
            ]
            child = command.start(words, held=held, log=log, environment=self._environment)
        deadline = time.monotonic() + 10
        while not record.exists():
            if child.poll() is not None or time.monotonic() > deadline:
                raise HostError(f"{program.name} could not be started:\n{self.tail(program.name)}")
            time.sleep(0.005)
        files.write_atomic(self._folder / f"{program.name}.digest", program.digest(self._environment))
        return Running(child.pid, start_time(child.pid) or 0)

    def stop(self, name: str, *, grace: float) -> None:
        """Asks the program to end, waits `grace` seconds, then kills it; without a process it does nothing."""
        if running := self.find(name):
            send(running, signal.SIGTERM if grace > 0 else signal.SIGKILL)
            if not _wait_gone(running, grace):
                send(running, signal.SIGKILL)
                _wait_gone(running, 10)
        self.forget_digest(name)
        (self._folder / f"{name}.pid").unlink(missing_ok=True)

    def tail(self, name: str, lines: int = 15) -> str:
        """The end of the program's log."""
        path = self._logs / f"{name}.log"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    def _log(self, name: str) -> BinaryIO:
        path = self._logs / f"{name}.log"
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None where there is none, or only a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def send(running: Running, number: signal.Signals) -> None:
    """Sends a signal to exactly that process: the descriptor is taken first, then the start time is compared."""
    try:
        descriptor = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    try:
        if start_time(running.pid) == running.started:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _wait_gone(running: Running, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while start_time(running.pid) == running.started:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
