"""Removes a cluster, whole or half-dead, in bounded time, and nothing that is not its own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from host.drivers.embedded import cgroups, namespaces, programs
from host.drivers.embedded.converge import supervisor
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.ownership import MARK
from host.drivers.epoch import recorded_uid
from host.system import state
from stacks.errors import HostError


def remove(layout: Layout, *, by_stack: bool) -> None:
    """Stops, unmounts, disconnects, deletes. Raises HostError with all that would not go; run again it tries those
    again.

    `by_stack`: the stack itself ends, so that its next cluster owes nothing to this one; otherwise the record stays
    that there was one.
    """
    found = supervisor(layout, None, [])
    # The kubelet first, else it starts again what we stop. Nothing is asked politely: the data goes with the programs.
    for name in reversed(programs.of(layout.plan)):
        found.stop(name, grace=0)
    left = cgroups.kill(layout, seconds=15)
    namespaces.disconnect(layout)
    namespaces.unpin(layout)
    stuck = cgroups.remove(layout)
    namespaces.release_mount_points(layout)
    layout.kubeconfig.unlink(missing_ok=True)
    state.record(layout.stack, state.epoch(layout.stack) + 1, "" if by_stack else recorded_uid(layout.stack) or "")
    problems = [f"process {pid} ({_name(pid)})" for pid in sorted(left)] + [f"cgroup {path}" for path in stuck]
    if not problems:  # the marks stay as long as anything of ours does
        # containerd's folder goes too: links to images that stay, and what a later cluster of this name must not
        # remember.
        folders = (layout.images, layout.run, layout.state)
        for folder in folders:
            _delete(folder)
        problems = [str(folder) for folder in folders if folder.exists()]
    with contextlib.suppress(OSError):
        layout.run.parent.rmdir()
    if problems:
        raise HostError("could not be removed:\n" + "\n".join(f"  - {p}" for p in problems), remedy="run it again")


def _delete(folder: Path) -> None:
    """Deletes a folder, its mark last: a killed removal stays recognisable as ours."""
    if not folder.exists():
        return
    for entry in folder.iterdir():
        if entry.name == MARK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    if any(entry.name != MARK for entry in folder.iterdir()):
        return
    (folder / MARK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    return "?"
