"""This machine as probes see it: programs that only look, files, folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from host.system import command
from probes.nvidia.layer import NOT_FOUND, Ran


class ThisMachine:
    """Looks at the machine itself; `root` stands for another place of its file tree."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def run(self, words: Sequence[str], timeout: float = 20.0) -> Ran:
        """Runs a program that only looks, in plain English; `timeout` is in seconds."""
        try:
            done = command.run(list(words), timeout=timeout, check=False, environment={"LC_ALL": "C"})
        except command.CommandFailed as failed:
            return Ran(failed.code, failed.output)
        except OSError as error:  # a program that may not be run
            return Ran(NOT_FOUND, f"{words[0]}: {error.strerror}")
        return Ran(done.returncode, done.stdout + done.stderr)

    def read(self, path: str) -> str | None:
        """The text of a file; None where it is not there or may not be read."""
        try:
            return self._at(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is a file, folder or device of that name."""
        try:
            return self._at(path).exists()
        except OSError:
            return False

    def names(self, folder: str) -> tuple[str, ...]:
        """What a folder holds, sorted; empty where it cannot be read."""
        try:
            return tuple(sorted(p.name for p in self._at(folder).iterdir()))
        except OSError:
            return ()

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")
