"""The one place where the machine's own programs are run: argument lists, bounded time, typed failures."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from stacks.errors import HostError

_SHOWN_LINES = 20
_GUARD = Path(__file__).with_name("process_guard.py")
_FULL = "no space left on device"  # as every program says it that asks the C library
_GRACE = 10.0  # seconds between the polite signal and the other one
_NOT_FOUND = 127
_LATE = 124  # what process_guard.py ends with when the time is over
_PATIENCE = 30.0  # seconds that process_guard.py may need beyond the limit
NO_ROOT = "root is needed, and sudo asks for a password that nobody can type here"
GET_ROOT = "in this terminal: sudo -v; then the same again (or allow sudo without a password, or run ./lab as root)"


class CommandFailed(HostError):
    """A program ended with another exit code than 0, could not be started, or took too long."""

    def __init__(self, arguments: Sequence[str], code: int | None, output: str, *, remedy: str = "") -> None:
        tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-_SHOWN_LINES:])
        what = "took too long" if code is None else f"ended with {code}"
        if not remedy and _FULL in output.lower():
            remedy = (
                "the disk is full: free some GiB and run the same command again; it goes on with what is done already"
            )
        super().__init__(f"`{shlex.join(arguments)}` {what}" + (f":\n{tail}" if tail else ""), remedy=remedy)
        self.code = code
        self.output = output


def run(
    arguments: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    log: Path | None = None,
    root: bool = False,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs one program and returns what it said; `timeout` is in seconds, `text` its standard input, `environment` is
    added to ours.

    With `log` both outputs go to that file, and the failure shows its end. With `root` and without being root it runs
    through `sudo -n`, and ends with us all the same. Raises CommandFailed.
    """
    words = command = [str(a) for a in arguments]
    begin, limit = time.monotonic(), timeout
    through_sudo = root and os.geteuid() != 0
    if through_sudo:
        command, timeout = as_root(words, limit=limit), limit + _PATIENCE
    feed = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
    try:
        if log is None:
            done = subprocess.run(
                command,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                **feed,
            )
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env={**os.environ, **(environment or {})},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=timeout,
                    check=False,
                    **feed,
                )
            done.stdout, done.stderr = log.read_text(encoding="utf-8", errors="replace")[-8000:], ""
    except FileNotFoundError:
        raise CommandFailed(words, 127, f"{command[0]}: not found") from None
    except subprocess.TimeoutExpired as error:
        output = error.output or b""
        raise CommandFailed(
            words, None, output.decode(errors="replace") if isinstance(output, bytes) else output
        ) from None
    said = (done.stdout or "") + (done.stderr or "")
    if through_sudo and done.returncode == _LATE and time.monotonic() - begin >= limit:
        raise CommandFailed(words, None, said)
    if check and done.returncode:
        raise CommandFailed(
            words, done.returncode, said, remedy=GET_ROOT if through_sudo and said.startswith("sudo: ") else ""
        )
    return done


@contextmanager
def piped(arguments: Sequence[str | Path], *, root: bool = False) -> Iterator[IO[bytes]]:
    """Runs one program and gives its standard output while it writes it; it ends with the block. With `root` and
    without being root it runs through `sudo -n`. Raises CommandFailed where it cannot be started, and where it fails
    although all of its output was read.
    """
    words = command = [str(a) for a in arguments]
    if root and os.geteuid() != 0:
        command = as_root(words)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        except FileNotFoundError:
            raise CommandFailed(words, _NOT_FOUND, f"{command[0]}: not found") from None
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        try:
            yield process.stdout
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        if code:
            errors.seek(0)
            raise CommandFailed(words, code, errors.read(), remedy=GET_ROOT if command != words else "")


def as_root(words: Sequence[str], *, limit: float = 0) -> list[str]:
    """The words that run a command as root without asking, for as long as this process runs and at most `limit` seconds
    (0: no
    limit).
    """
    return ["sudo", "-n", *_guarded(words, limit=limit, grace=_GRACE)]


def _guarded(words: Sequence[str], *, limit: float, grace: float) -> list[str]:
    """The words that run a command so that it ends when we do, however we end, and leaves no process behind."""
    return [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), f"{limit:g}", f"{grace:g}", *words]


@dataclass(frozen=True)
class Streamed:
    """How a streamed program ended: its exit code, what it said on standard error, and whether it was stopped by
    Ctrl-C.
    """

    code: int
    errors: str
    interrupted: bool


def stream(
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    grace: float = 60.0,
    limit: float = 0,
) -> Streamed:
    """Runs one program and hands each line of its standard output to `on_line` as it comes; `environment` is added to
    ours.

    Ctrl-C asks it to stop and waits for its end, a second one kills it; `grace` is the time in seconds that it has for
    stopping. When we are killed it ends too, with all that it started; after `limit` seconds (0: none) as well, with
    code 124. Raises CommandFailed where it cannot be started.
    """
    words = _guarded([str(a) for a in arguments], limit=limit, grace=grace)
    interrupts = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            words, cwd=cwd, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=errors, text=True,
            errors="replace",
        )  # fmt: skip
        assert process.stdout is not None  # noqa: S101 (a pipe was asked for)
        while True:
            try:
                for line in process.stdout:
                    on_line(line)
                code = process.wait()
                break
            except KeyboardInterrupt:
                interrupts += 1
                # The terminal has told the guard already; SIGTERM tells one that has no terminal, and counts once with
                # the other.
                process.send_signal(signal.SIGTERM if interrupts == 1 else signal.SIGINT)
            except BaseException:
                process.terminate()
                process.wait()
                raise
        errors.seek(0)
        said = errors.read()
    if code == _NOT_FOUND:
        raise CommandFailed([str(a) for a in arguments], code, said)
    return Streamed(code, said, interrupts > 0)


def interactive(
    arguments: Sequence[str | Path], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> int:
    """Runs one program on our own terminal, for as long as it takes; returns its exit code, 127 where there is none."""
    try:
        done = subprocess.run(
            [str(a) for a in arguments], cwd=cwd, env={**os.environ, **(environment or {})}, check=False
        )
    except FileNotFoundError:
        return _NOT_FOUND
    return done.returncode


def output(
    arguments: Sequence[str | Path], *, timeout: float, cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Runs one program and returns what it wrote, byte for byte. Raises CommandFailed where it takes longer than
    `timeout` seconds or cannot be started.
    """
    words = [str(a) for a in arguments]
    try:
        return subprocess.run(
            words, cwd=cwd, env={**os.environ, **environment}, capture_output=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        raise CommandFailed(words, _NOT_FOUND, f"{words[0]}: not found") from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(words, None, "") from None


def start(
    arguments: Sequence[str], *, held: IO[str], log: IO[bytes] | IO[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Starts a program that outlives us, in a session of its own; `held` is its standard input, and both outputs go to
    `log`. `environment` is all of its environment.
    """
    return subprocess.Popen(
        list(arguments), stdin=held, stdout=log, stderr=log, start_new_session=True, cwd="/", env=dict(environment)
    )


def can_be_root() -> bool:
    """Whether `root=True` works at this moment without a question."""
    if os.geteuid() == 0:
        return True
    try:
        return run(["sudo", "-n", "true"], timeout=20, check=False).returncode == 0
    except CommandFailed:
        return False


def become_root(words: Sequence[str]) -> NoReturn:
    """Goes on as root with our own output; ends with the exit code of that. Raises HostError where nobody can be asked
    for a password.
    """
    if not can_be_root():
        raise HostError(NO_ROOT, remedy=GET_ROOT)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through run(): its progress must be seen while it works.
    sys.exit(subprocess.run(as_root(words), stdin=subprocess.DEVNULL, check=False).returncode)
