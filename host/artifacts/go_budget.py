"""What the build of a Go program costs, and what this machine has for it. GiB is 2^30 bytes."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stacks.errors import HostError

_TICK_SECONDS = 10.0
_GIB = 2.0**30
_CGROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


@dataclass(frozen=True)
class Cost:
    """What one program takes: seconds of one processor, and the memory in GiB of the largest single compile or link."""

    cpu_seconds: float
    peak_gib: float = 0.9


# Measured with getrusage on two shared cores of an x86_64 server, Go 1.26.8, empty caches; the programs of one module
# in this order, each finding what the ones before it have compiled. The two stand-ins for Pulumi's programs are built
# alone where only they have changed: right after the CLI they take 1 and 17 s.
COSTS: Final[dict[str, Cost]] = {
    "pulumi": Cost(451, 1.9),
    "pulumi-language-python": Cost(80, 0.4),
    "pulumi-resource-command": Cost(140, 1.1),
    "pulumi-resource-kubernetes": Cost(315, 1.4),
    "envoy-gateway": Cost(486, 1.9),
    "egctl": Cost(375, 1.9),
    "coredns": Cost(160, 1.0),
    "pause": Cost(8, 0.4),
    "etcd": Cost(73, 0.4),
    "containerd": Cost(138, 0.7),
    "containerd-shim-runc-v2": Cost(2, 0.3),
    "ctr": Cost(6, 0.5),
    "kube-apiserver": Cost(405, 1.8),
    "kube-controller-manager": Cost(95, 2.0),
    "kube-scheduler": Cost(6, 1.3),
    "kubelet": Cost(27, 1.5),
    "kube-proxy": Cost(10, 1.3),
    "kubectl": Cost(37, 0.9),
    "kube-network-policies": Cost(153, 0.9),
}


def processors() -> int:
    """How many processors this process may keep busy."""
    found = len(os.sched_getaffinity(0))
    for folder in _own_cgroups():
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit():
            found = min(found, max(1, math.ceil(int(quota) / int(period))))
    return found


def free_gib() -> float:
    """The memory that programs can still take without others losing theirs, swap included."""
    rows = dict(line.split(":", 1) for line in _read(_PROC / "meminfo").splitlines() if ":" in line)
    found = sum(int(rows[name].split()[0]) * 1024 for name in ("MemAvailable", "SwapFree"))
    for folder in _own_cgroups():
        limit, current = _read(folder / "memory.max"), _read(folder / "memory.current")
        if limit.isdigit() and current.isdigit():
            statistics = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
            found = min(found, int(limit) - int(current) + int(statistics.get("inactive_file", 0)))
    return found / _GIB


def parallel(name: str) -> int:
    """How many compiles of a program may run at once. Raises HostError where the memory does not carry even one."""
    peak, free = cost(name).peak_gib, free_gib()
    if free < peak:
        raise HostError(
            f"building {name} takes {peak:.1f} GiB of memory, {free:.1f} GiB are free",
            remedy="end other programs, and run the same again",
        )
    return min(processors(), int(free / peak))


def cost(name: str) -> Cost:
    """The cost of a program; one that was never measured is taken for a small one."""
    return COSTS.get(name, Cost(60))


def estimate(name: str, at_once: int) -> float:
    """Seconds that the build takes where nothing else works on these processors."""
    return cost(name).cpu_seconds / min(at_once, processors())


@contextmanager
def ticking(what: str, seconds: float | None = None) -> Iterator[None]:
    """Says every ten seconds that `what` goes on, for how long, and how long it was expected to take."""
    begin, ended = time.monotonic(), threading.Event()

    def say() -> None:
        while not ended.wait(_TICK_SECONDS):
            sys.stderr.write(f"  {what}: {_progress(time.monotonic() - begin, seconds)}\n")
            sys.stderr.flush()

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _progress(passed: float, expected: float | None) -> str:
    if expected is None:
        return f"{passed:.0f} s"
    return (
        f"{passed:.0f} s, of about {expected:.0f} s"
        if passed <= expected
        else f"{passed:.0f} s, longer than the {expected:.0f} s it takes alone"
    )


def _own_cgroups() -> list[Path]:
    """The cgroup (version 2) of this process and all above it; none where there is only version 1."""
    own = next((line[3:] for line in _read(_PROC / "self" / "cgroup").splitlines() if line.startswith("0::")), "/")
    folder = _CGROUPS / own.lstrip("/")
    return [f for f in (folder, *folder.parents) if f.is_relative_to(_CGROUPS)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
