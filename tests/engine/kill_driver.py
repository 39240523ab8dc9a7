"""One `up` in a process of its own that is killed at a chosen write of its state: python -m tests.engine.kill_driver FOLDER N WHEN CONFIG.

Prints how many writes there were where nothing kills it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.apply import ledger
from tests.engine.apply_support import World

_write = ledger.write_private


def main(folder: Path, number: int, when: str, config: dict[str, str]) -> None:
    count = 0

    def write(path: Path, document: Mapping[str, Any]) -> None:
        nonlocal count
        count += 1
        if count == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if count == number and when == "half":
            path.with_name(f".{path.name}.{os.getpid()}").write_text('{"version": 3, "depl')
            os.kill(os.getpid(), signal.SIGKILL)
        _write(path, document)
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    ledger.write_private = write
    result = World(folder).up((folder / "program.py").read_text(), config=config)
    print(count, result.ok, result.summary, *[item.message for item in result.diagnostics])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
