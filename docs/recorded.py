"""Writes docs/captures/recorded/*.txt: scripts/captures --recorded

These commands need a machine that can carry the embedded cluster, and they make it: what they print at 80 columns is
kept as it was on the machine that ran them, times included. The stack `dev` runs afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "captures" / "recorded"
COMMANDS = {"up": "up dev --yes", "again": "up dev", "check": "check dev", "status": "status dev", "learn": "learn dev"}


def main() -> None:
    """Runs each command in turn and writes what it printed; ends with the code of the first that fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, words in COMMANDS.items():
        done = subprocess.run(
            [ROOT / "lab", *words.split()],
            env={**os.environ, "COLUMNS": "80"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.stderr.write(done.stdout)
            sys.exit(done.returncode)
        said = done.stdout.replace(str(Path.home()), "~")  # nobody else has that folder
        text = "\n".join(line.rstrip() for line in f"$ ./lab {words}\n{said}".splitlines())
        (FOLDER / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
