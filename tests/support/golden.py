"""Golden files: what a reviewer sees changing. LAB_UPDATE_GOLDEN=1 writes them again."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"


def assert_golden(name: str, text: str) -> None:
    """`text` equals the golden file `name` below tests/data."""
    path = DATA / name
    if os.environ.get("LAB_UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no golden file {name}; write it with LAB_UPDATE_GOLDEN=1"
    assert text == path.read_text(), f"{name} changed; if that is meant: LAB_UPDATE_GOLDEN=1 ./lab test tests/program"
