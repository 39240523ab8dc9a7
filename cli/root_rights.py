"""Root for a person who is not: sudo's password is asked for once, before the work, and never in the middle of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cli.output import console
from host.system import command
from stacks.errors import LabError

_FRESH: Final = 50.0  # seconds; sudo forgets after 15 minutes (Debian) or 5, where somebody made it stricter after 1


@contextmanager
def root_rights(*, needed: bool) -> Iterator[None]:
    """Keeps sudo from asking for as long as the block runs.

    Raises LabError (exit code 2) where a person is asked and root does not come of it, and with `needed` also where
    nobody can be asked. Otherwise the block then runs all the same: what needs no root works, and the rest says what to
    type.
    """
    if command.can_be_root():
        pass
    elif shutil.which("sudo") and sys.stdin.isatty():
        console(stderr=True).print("sudo asks for your password once, for what is marked root", style="dim")
        with contextlib.suppress(KeyboardInterrupt):  # at the question: the answer is no
            command.interactive(["sudo", "-v"])  # the sudo of their PATH is the one that they trust
        if not command.can_be_root():
            raise _refusal(
                "sudo gave no lasting leave: nothing was changed", "allow sudo without a password, or run ./lab as root"
            )
    elif needed:
        raise _refusal(command.NO_ROOT, command.GET_ROOT)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(over,), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _refusal(message: str, remedy: str) -> LabError:
    return LabError(message, remedy=remedy, exit_code=2)


def _keep(over: threading.Event) -> None:
    while os.geteuid() != 0 and not over.wait(_FRESH):
        command.can_be_root()  # looking is what keeps sudo's memory fresh
