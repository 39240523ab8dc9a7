"""The one place where the machine's own programs are run: argument lists, bounded time, typed failures."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from stacks.errors import HostError

_SHOWN_LINES = 20


class CommandFailed(HostError):
    """A program ended with another exit code than 0, could not be started, or took too long."""

    def __init__(self, arguments: Sequence[str], code: int | None, output: str, *, remedy: str = "") -> None:
        tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-_SHOWN_LINES:])
        what = "took too long" if code is None else f"ended with {code}"
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
    """Runs one program and returns what it said; `timeout` is in seconds, `text` its standard input, `environment` is added to ours.

    With `log` both outputs go to that file, and the failure shows its end. With `root` and without being root it runs through `sudo -n`.
    Raises CommandFailed.
    """
    command = [str(a) for a in arguments]
    if root and os.geteuid() != 0:
        command = ["sudo", "-n", *command]
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
        raise CommandFailed(command, 127, f"{command[0]}: not found") from None
    except subprocess.TimeoutExpired as error:
        output = error.output or b""
        raise CommandFailed(command, None, output.decode(errors="replace") if isinstance(output, bytes) else output) from None
    if check and done.returncode:
        raise CommandFailed(command, done.returncode, (done.stdout or "") + (done.stderr or ""))
    return done
