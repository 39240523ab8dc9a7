"""What a killed run of the CLI left behind, and how it is put right before the next one. Only what is certainly dead is
touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.pulumi.backend import local_backend, remove_damaged_attributes
from cli.pulumi.workspace import Workspace
from stacks.settings import PROJECT


def recover(workspace: Workspace, deployment: Mapping[str, Any]) -> list[str]:
    """Ends orphaned plugins, takes away a dead run's lock and its pending operations; returns what was done, for people
    to read.

    Raises LabError where Pulumi refuses.
    """
    remove_damaged_attributes(workspace.root, workspace.stack)
    done = []
    if plugins := _end_orphaned_plugins(workspace):
        done.append(f"ended {plugins} of Pulumi's plugins that a killed run had left")
    if dead := dead_locks(workspace.root, workspace.stack):
        workspace.call("cancel", "--yes", "--stack", workspace.stack)
        done.append(f"removed the lock of a run that was killed (process {', '.join(map(str, dead))})")
    if pending := deployment.get("pending_operations") or []:
        # Importing a stack's own export drops them, and asks no cluster as `refresh --clear-pending-creates` would.
        document = workspace.call("stack", "export", "--stack", workspace.stack)
        workspace.call("stack", "import", "--stack", workspace.stack, text=document)
        done.append(f"forgot {len(pending)} operations that a killed run had begun; what they made is found and kept")
    return done


def dead_locks(root: Path, stack: str) -> list[int]:
    """The process ids of locks on the stack whose owner ran on this machine and is dead, where every lock is such a
    one.
    """
    backend = local_backend(root)
    if backend is None:
        return []
    dead = []
    for path in sorted((backend / ".pulumi" / "locks" / "organization" / PROJECT / stack).glob("*.json")):
        try:
            lock = json.loads(path.read_text(encoding="utf-8"))
            host, process = str(lock["hostname"]), int(lock["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return []
        if host != socket.gethostname() or _is_pulumi(process):
            return []
        dead.append(process)
    return dead


def live_locks(root: Path, stack: str) -> list[str]:
    """Who holds locks on the stack that are not certainly dead: a process, and its machine where that is another."""
    backend = local_backend(root)
    if backend is None or dead_locks(root, stack):
        return []
    found = []
    for path in sorted((backend / ".pulumi" / "locks" / "organization" / PROJECT / stack).glob("*.json")):
        try:
            lock = json.loads(path.read_text(encoding="utf-8"))
            where = "" if lock["hostname"] == socket.gethostname() else f" on {lock['hostname']}"
            found.append(f"{lock['pid']}{where}")
        except (OSError, ValueError, KeyError, TypeError):
            found.append("unknown")
    return found


def _is_pulumi(process: int) -> bool:
    """Whether the process lives and is a Pulumi CLI; another program may have got the number of a dead one."""
    try:
        name = Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return False
    return name.startswith("pulumi")


def _end_orphaned_plugins(workspace: Workspace) -> int:
    """Plugins of our cache whose CLI is gone; a plugin asks for its CLI every five minutes only."""
    home = workspace.pulumi.home
    if home is None:
        return 0
    ended = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            program = (entry / "exe").readlink()
            ours = re.fullmatch(r"pulumi-(resource|language)-\w+", program.name) and entry.stat().st_uid == os.getuid()
            if ours and home in program.parents and not _has_cli(int(entry.name)):
                os.kill(int(entry.name), signal.SIGKILL)
                ended += 1
    return ended


def _has_cli(process: int) -> bool:
    """Whether one of the ancestors is a Pulumi CLI."""
    while process > 1:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        process = int(fields[1])
        if process > 1 and Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip() == "pulumi":
            return True
    return False
