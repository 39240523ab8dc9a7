"""Runs `python -m host embedded VERB` and kills it with SIGKILL at the N-th external command or state write: `killed.py
N VERB`.

N = 0 kills nothing and prints how many such points the run had (last line of standard error: `points: COUNT`).
"""

from __future__ import annotations

import sys

from host import __main__ as host
from host.system import files
from tests.support.kill_points import KillPoints

if __name__ == "__main__":
    points = KillPoints(int(sys.argv[1]), files, "write_atomic")
    code = host.main(["embedded", sys.argv[2]])
    sys.stderr.write(f"points: {points.count}\n")
    sys.exit(code)
