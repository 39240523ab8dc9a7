"""Runs `python -m host k3s VERB` as root of a temporary machine, and kills it with SIGKILL at the N-th external
command, write or removal: `killed_k3s.py MACHINE N VERB`.

N = 0 kills nothing and prints how many such points the run had (last line of standard error: `points: COUNT`).
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from host import __main__ as host
from host.artifacts import releases
from host.drivers.k3s import driver
from host.system import files
from tests.support.kill_points import KillPoints

if __name__ == "__main__":
    machine = Path(sys.argv[1])
    os.geteuid = lambda: 0
    driver.ROOT = machine / "root"
    releases.obtain = lambda *_a, **_k: machine / "release"
    points = KillPoints(int(sys.argv[2]), files, "write_atomic_bytes")
    points.trace(shutil, "rmtree")
    code = host.main(["k3s", sys.argv[3]])
    sys.stderr.write(f"points: {points.count}\n")
    sys.exit(code)
