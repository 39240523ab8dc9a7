"""Counts the points at which a run can be killed (external commands and state writes), and kills it with SIGKILL at a
chosen one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from types import ModuleType

EVERYTHING = os.environ.get("LAB_SLOW") == "1"
"""Whether the long runs were asked for, which try every point."""


def chosen(points: int, few: int) -> list[int]:
    """The same `few` points of a run each time, evenly spread, or all of them with LAB_SLOW=1."""
    if EVERYTHING:
        return list(range(1, points + 1))
    return [points * (2 * number + 1) // (2 * few) + 1 for number in range(few)]


class KillPoints:
    """Traces `subprocess.Popen` and `module.name`, the function that writes state; `at` 0 kills nothing."""

    def __init__(self, at: int, module: ModuleType, name: str) -> None:
        self.count, self._at, self._lock = 0, at, threading.Lock()
        self.trace(subprocess.Popen, "__init__")
        self.trace(module, name)

    def trace(self, owner: ModuleType | type, name: str) -> None:
        """Counts a point before and one after each call of that function too."""
        function = getattr(owner, name)
        setattr(owner, name, lambda *arguments, **options: self._around(function, arguments, options))

    def _around(self, function, arguments, options):
        self._point()
        result = function(*arguments, **options)
        self._point()
        return result

    def _point(self) -> None:
        with self._lock:
            self.count += 1
            if self.count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
