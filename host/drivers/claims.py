"""Which stacks have something on this machine that only their driver can remove: what they use is not to be deleted."""

from __future__ import annotations

from host.drivers import DRIVERS, optional, ownership
from host.system import state


def claiming() -> set[str]:
    """The stacks of this user that stand here by any driver's word, or by a mark of ownership. Raises HostError where a
    mark cannot be read.
    """
    folders = state.folder("any").parent
    known = {folder.name for folder in folders.iterdir() if folder.is_dir()} if folders.is_dir() else set()
    looks = [look for driver in DRIVERS if (look := optional(driver, "stands"))]
    return {stack for stack in known if any(look(stack) for look in looks)} | ownership.marked()
