"""Runs `python -m host embedded VERB` and kills it with SIGKILL at the N-th external command or state write: `killed.py N VERB`.

N = 0 kills nothing and prints how many such points the run had (last line of standard error: `points: COUNT`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from host import __main__ as host
from host import files

_POINTS = [0]


def _point() -> None:
    _POINTS[0] += 1
    if _POINTS[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)


def _install() -> None:
    popen, write = subprocess.Popen.__init__, files.write_atomic

    def traced_popen(*arguments, **options):
        _point()
        popen(*arguments, **options)
        _point()

    def traced_write(*arguments, **options):
        _point()
        write(*arguments, **options)

    subprocess.Popen.__init__ = traced_popen
    files.write_atomic = traced_write


if __name__ == "__main__":
    _install()
    code = host.main(["embedded", sys.argv[2]])
    sys.stderr.write(f"points: {_POINTS[0]}\n")
    sys.exit(code)
