"""Runs `lab up STACK --yes` and kills it with SIGKILL at the N-th external command or state write: `killed_up.py N STACK`.

N = 0 kills nothing and prints how many such points the run had (last line of standard error: `points: COUNT`). The commands are those of
`lab` itself; what the host modules run is killed by tests/support/killed.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from cli import up
from engine.apply import ledger

_POINTS = [0]
_AT = int(sys.argv[1])  # now: running the program changes the arguments
_STACK = sys.argv[2]
_LOCK = threading.Lock()


def _point() -> None:
    with _LOCK:
        _POINTS[0] += 1
        if _POINTS[0] == _AT:
            os.kill(os.getpid(), signal.SIGKILL)


def _install() -> None:
    popen, write = subprocess.Popen.__init__, ledger.write_private

    def traced_popen(*arguments, **options):
        _point()
        popen(*arguments, **options)
        _point()

    def traced_write(*arguments, **options):
        _point()
        write(*arguments, **options)
        _point()

    subprocess.Popen.__init__ = traced_popen
    ledger.write_private = traced_write


if __name__ == "__main__":
    _install()
    try:
        up.run(Path.cwd(), _STACK, yes=True, as_json=True)
    finally:
        sys.stderr.write(f"points: {_POINTS[0]}\n")
