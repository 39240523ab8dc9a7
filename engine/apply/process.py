"""Runs one program, watched: its lines as they come, and an end that is really one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from engine.apply.interrupt import Interrupt, InterruptedRunError

_WATCHED: Final = Path(__file__).parents[2] / "host" / "watched.py"  # a program of its own, not imported
_DRAIN: Final = 2.0  # seconds for the last output; a daemon that the program left may hold the pipe for ever
OnLine = Callable[[str, str], None]


@dataclass(frozen=True)
class Ended:
    """How a program ended; `late` says that it was stopped because its time was over."""

    code: int
    stdout: str
    stderr: str
    late: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What every program of a run shares: its folder, the lock that whoever watches a program holds on to, and Ctrl-C."""

    folder: Path
    lock: int
    interrupt: Interrupt


def run(
    command: Sequence[str], environment: Mapping[str, str], *, folder: Path, text: str | None, around: Surroundings,
    on_line: Callable[[str, str], None], timeout: float | None = None,
) -> Ended:  # fmt: skip
    """Runs the program to its end; `on_line` gets each line with the name of its stream.

    Raises InterruptedRunError after a Ctrl-C, when the program and its whole process group are gone.
    """
    around.interrupt.check()
    watched = [sys.executable, "-I", "-S", str(_WATCHED), str(os.getpid()), "0", *command]
    # A group of its own, not a session: sudo remembers a password for the terminal's session.
    process = subprocess.Popen(
        watched, cwd=folder, env=dict(environment), stdin=subprocess.PIPE if text is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0, pass_fds=[around.lock],
    )  # fmt: skip
    streams = {"stdout": process.stdout, "stderr": process.stderr}
    chunks: dict[str, list[bytes]] = {name: [] for name in streams}
    readers = [
        threading.Thread(target=_read, args=(pipe, chunks[name], name, on_line), daemon=True) for name, pipe in streams.items() if pipe
    ]
    for reader in readers:
        reader.start()
    if text is not None and process.stdin:
        threading.Thread(target=_feed, args=(process.stdin, text.encode()), daemon=True).start()
    asked = [0]

    def stop() -> None:
        asked[0] += 1
        process.send_signal(signal.SIGTERM if asked[0] == 1 else signal.SIGINT)

    late = False
    with around.interrupt.listening(stop):
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            late = True
            process.send_signal(signal.SIGTERM)
            process.wait()
    for reader in readers:
        reader.join(_DRAIN)
    if asked[0]:
        raise InterruptedRunError
    stdout, stderr = (b"".join(list(chunks[name])).decode(errors="replace") for name in streams)
    return Ended(process.returncode, stdout, stderr, late)


def _read(pipe: IO[bytes], chunks: list[bytes], name: str, on_line: OnLine) -> None:
    for line in pipe:
        chunks.append(line)
        on_line(line.decode(errors="replace").rstrip("\n"), name)


def _feed(pipe: IO[bytes], content: bytes) -> None:
    try:
        pipe.write(content)
        pipe.close()
    except OSError:
        pass  # the program did not want all of it
