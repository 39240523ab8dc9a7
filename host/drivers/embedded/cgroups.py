"""The cluster's cgroup in every hierarchy of the machine, v1 and v2: made, entered, emptied, removed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from host.drivers.embedded.layout import Layout

_SYSTEM = "system"
# the kubelet refuses a group that lacks one of these which the machine has (pkg/kubelet/cm,
# supportedUnifiedControllers)
_V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
NEEDED = ("cpu", "cpuset", "memory", "pids")


def hierarchies(mounts: str | None = None) -> list[tuple[Path, str]]:
    """Every mounted cgroup hierarchy and its options; v2's options are the empty string."""
    text = Path("/proc/mounts").read_text(encoding="utf-8") if mounts is None else mounts
    found = [
        (Path(f[1]), f[3] if f[2] == "cgroup" else "")
        for f in (line.split() for line in text.splitlines())
        if f[2] in ("cgroup", "cgroup2")
    ]
    return [(path, options) for path, options in found if str(path).startswith("/sys/fs/cgroup")]


def missing_controllers() -> list[str]:
    """Controllers that the kubelet needs and this machine does not offer."""
    offered: set[str] = set()
    for path, options in hierarchies():
        offered |= set(options.split(","))
        if not options:
            with contextlib.suppress(OSError):
                offered |= set((path / "cgroup.controllers").read_text().split())
    return [c for c in NEEDED if c not in offered]


def make(layout: Layout) -> list[Path]:
    """Makes the cluster's cgroup in every hierarchy; returns the folders that its own daemons belong into."""
    homes = []
    for path, options in hierarchies():
        own = path / layout.cgroup.lstrip("/")
        if not options:
            _delegate(path)
        own.mkdir(exist_ok=True)
        _inherit_cpuset(path, own)
        if not options:
            _delegate(own)
        home = own / _SYSTEM
        home.mkdir(exist_ok=True)
        _inherit_cpuset(own, home)
        homes.append(home)
    return homes


def processes(layout: Layout) -> set[int]:
    """Every process that the cluster has: its daemons, the shims and all containers."""
    found: set[int] = set()
    for path, _ in hierarchies():
        # os.walk, because groups vanish while we look.
        for folder, _, _ in os.walk(path / layout.cgroup.lstrip("/")):
            with contextlib.suppress(OSError, ValueError):
                found |= {int(line) for line in Path(folder, "cgroup.procs").read_text().split()}
    return found - {0, os.getpid()}


def kill(layout: Layout, *, seconds: float) -> set[int]:
    """Kills all processes of the cluster; returns those that were still there when the time was over."""
    deadline = time.monotonic() + seconds
    while (left := processes(layout)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return left


def remove(layout: Layout) -> list[Path]:
    """Removes the cluster's cgroups, the deepest first; returns those that the kernel refused to remove."""
    for path, _ in hierarchies():
        own = path / layout.cgroup.lstrip("/")
        for folder, _, _ in os.walk(own, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
    return [own for path, _ in hierarchies() if (own := path / layout.cgroup.lstrip("/")).exists()]


def _delegate(folder: Path) -> None:
    """v2: lets children of `folder` have the controllers that are there; one that cannot be given is found missing by
    the kubelet.
    """
    offered = set((folder / "cgroup.controllers").read_text().split())
    for controller in _V2_CONTROLLERS:
        if controller in offered:
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(parent: Path, child: Path) -> None:
    """v1: a new cpuset is empty and takes no process until it has processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (child / name).exists() and (parent / name).exists() and not (child / name).read_text().strip():
            with contextlib.suppress(OSError):
                (child / name).write_text((parent / name).read_text())
