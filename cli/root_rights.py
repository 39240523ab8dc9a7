"""Root for a person who is not: sudo's password is asked for once, before the work, and never in the middle of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cli.output import console
from host import command
from stacks.errors import LabError

_FRESH: Final = 50.0  # seconds; sudo forgets after 15 minutes (Debian) or 5, where somebody made it stricter after 1


@contextmanager
def root_rights(remedy: str) -> Iterator[None]:
    """Keeps sudo from asking for as long as the block runs.

    Where nobody can be asked the block runs all the same: what needs no root works, and the rest says what to type.
    Raises LabError (exit code 2) where the password was not given.
    """
    if os.geteuid() == 0 or not shutil.which("sudo"):
        yield
        return
    if not command.can_be_root() and sys.stdin.isatty():
        console(stderr=True).print("sudo asks for your password once, for what is marked root", style="dim")
        if subprocess.run(["sudo", "-v"], check=False).returncode:  # noqa: S607 (the sudo of their PATH is the one they trust)
            error = LabError("sudo did not let you: nothing was changed", remedy=remedy)
            error.exit_code = 2
            raise error
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(over,), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _keep(over: threading.Event) -> None:
    while not over.wait(_FRESH):
        if not command.can_be_root():
            return  # it would only be told again and again
