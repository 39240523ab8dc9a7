"""What this machine has of RAM and processors: for stack files that leave it to the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from stacks.errors import HostError

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def detected() -> Mapping[str, int]:
    """The values that a stack file may leave out, under its own names: whole GiB (2^30) of RAM that this process may
    have, and processors that it may run on. What cannot be read is left out.

    LAB_MACHINE stands for another machine: LAB_MACHINE=memoryGiB=16,cpus=4. Raises HostError where it cannot be read.
    """
    if other := os.environ.get("LAB_MACHINE"):
        return _stated(other)
    found = {"cpus": len(os.sched_getaffinity(0))}
    if memory := _memory_bytes():
        found["memoryGiB"] = max(1, memory // 2**30)
    return found


def _memory_bytes() -> int:
    """MemTotal, or a container's smaller limit; 0 where neither can be read."""
    sizes = []
    try:
        lines = _MEMINFO.read_text(encoding="utf-8").splitlines()
        sizes += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")]
        sizes += [
            int(text) for path in _CGROUP_LIMITS if path.exists() and (text := path.read_text().strip()).isdigit()
        ]
    except (OSError, ValueError, IndexError):
        pass
    return min(sizes, default=0)


def _stated(text: str) -> Mapping[str, int]:
    try:
        return {key: int(value) for key, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        remedy = "write it as LAB_MACHINE=memoryGiB=16,cpus=4"
        raise HostError(f"LAB_MACHINE={text} names no machine", remedy=remedy) from None
