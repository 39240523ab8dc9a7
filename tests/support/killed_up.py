"""Runs `lab up STACK --yes` and kills it with SIGKILL at the N-th external command or state write: `killed_up.py N STACK`.

N = 0 kills nothing and prints how many such points the run had (last line of standard error: `points: COUNT`). The commands are those of
`lab` itself; what the host modules run is killed by tests/support/killed.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cli import up
from engine.apply import ledger
from tests.support.kill_points import KillPoints

if __name__ == "__main__":
    points = KillPoints(int(sys.argv[1]), ledger, "write_private")
    try:
        up.run(Path.cwd(), sys.argv[2], yes=True, as_json=True)
    finally:
        sys.stderr.write(f"points: {points.count}\n")
