"""Runs `lab up|down STACK --yes` and ends it at the N-th event of Pulumi's stream: `killed_run.py VICTIM N up|down
STACK`.

VICTIM: lab (kill -9 of `lab`), pulumi (kill -9 of the CLI), interrupt (Ctrl-C for `lab`). N = 0 ends nothing and prints
how many events there were (last line of standard error: `points: COUNT`).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cli.commands import down, up
from cli.pulumi import events


class Killer:
    """Counts the lines of the stream and strikes at one of them."""

    def __init__(self, victim: str, at: int, stack: str) -> None:
        self.count, self._victim, self._at, self._stack = 0, victim, at, stack
        self._line = events.Reader.line

        def line(reader: events.Reader, text: str) -> None:  # a plain function, so that the reader is handed in
            self._counted(reader, text)

        events.Reader.line = line  # type: ignore[method-assign]

    def _counted(self, reader: events.Reader, text: str) -> None:
        self.count += 1
        if self.count == self._at:
            self._strike()
        self._line(reader, text)

    def _strike(self) -> None:
        if self._victim == "pulumi":
            os.kill(self._cli(), signal.SIGKILL)
        else:
            os.kill(os.getpid(), signal.SIGKILL if self._victim == "lab" else signal.SIGINT)

    def _cli(self) -> int:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if (process / "comm").read_text().strip() == "pulumi" and self._stack.encode() in words:
                    return int(process.name)
            except OSError:
                continue
        raise AssertionError(f"no pulumi works on {self._stack}")


if __name__ == "__main__":
    victim, at, command, stack = sys.argv[1:]
    killer = Killer(victim, int(at), stack)
    try:
        if command == "up":
            up.run(Path.cwd(), stack, yes=True, as_json=True)
        else:
            down.run(Path.cwd(), stack, yes=True, purge=False, as_json=True)
    finally:
        sys.stderr.write(f"points: {killer.count}\n")
