"""What a killed run of the CLI left behind, and how it is put right before the next one. Only what is certainly dead is
touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cli.pulumi.workspace import Workspace
from stacks.settings import PROJECT


def recover(workspace: Workspace, deployment: Mapping[str, Any]) -> list[str]:
    """Ends orphaned plugins, takes away a dead run's lock and its pending operations; returns what was done, for people
    to read.

    Raises LabError where Pulumi refuses.
    """
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


def local_backend(root: Path) -> Path | None:
    """The folder of a file backend: the one that the environment names, else the project's; None for a remote one."""
    project = yaml.safe_load((root / "Pulumi.yaml").read_text(encoding="utf-8")) or {}
    url = os.environ.get("PULUMI_BACKEND_URL") or str((project.get("backend") or {}).get("url", ""))
    if not url.startswith("file://"):
        return None
    path = url.removeprefix("file://")
    # Pulumi takes ~ from the user database and not from HOME.
    return Path(pwd.getpwuid(os.getuid()).pw_dir) / path[2:] if path.startswith("~/") else Path(path)


def state_file(root: Path, stack: str) -> Path | None:
    """The file in which a local backend keeps the stack; None for a remote one."""
    backend = local_backend(root)
    return backend / ".pulumi" / "stacks" / PROJECT / f"{stack}.json" if backend else None


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
