"""Times `./lab preview` as a user meets it, and says where the time goes: python -m benchmarks.lab_preview [RUNS]."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import seconds, spread

ROOT = Path(__file__).resolve().parent.parent
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)")
_OF_INTEREST = (
    "pulumi",
    "pulumi_kubernetes",
    "pulumi_kubernetes.core.v1",
    "pulumi_kubernetes.meta.v1",
    "pulumi_command",
    "pydantic",
    "rich.console",
    "engine",
    "stacks.settings",
)


def main(runs: int) -> None:
    """Prints wall times of help and preview, then the largest imports of one preview."""
    for name, arguments in (
        ("lab --help", ["--help"]),
        ("lab validate", ["validate"]),
        *((f"lab preview {s}", ["preview", s]) for s in ("dev", "rtx2060")),
    ):
        samples = [
            seconds(lambda a=arguments: subprocess.run([ROOT / "lab", *a], capture_output=True, check=True))
            for _ in range(runs + 1)
        ][1:]
        sys.stdout.write(f"{name:22} {spread(samples)}\n")
    command = [ROOT / ".venv/bin/python", "-P", "-X", "importtime", "-m", "cli", "preview", "rtx2060"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "HOME": str(Path.home())},
    )
    cumulative = {m.group(4): int(m.group(2)) / 1e3 for m in map(_LINE.match, done.stderr.splitlines()) if m}
    for name in _OF_INTEREST:
        if name in cumulative:
            sys.stdout.write(f"  import {name:28} {cumulative[name]:8.0f} ms with what it imports first\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
