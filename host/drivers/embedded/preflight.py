"""What a machine must have before anything is touched: every missing thing at once, each with what to do, and another
driver.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from host.artifacts.images import still_needed_gib
from host.drivers.embedded import cgroups, namespaces, ownership
from host.drivers.embedded.layout import SLOTS, Layout
from host.system import command
from stacks.errors import HostError

_PROGRAMS_GIB = 9.0
"""What building the programs takes at its worst, with module caches and throw-away build caches; 1 GiB stays."""
_WEIGHTS_GIB = 1.5
"""Downloads, the joined file and its dequantised copy of the model that comes in packages; 0.6 GiB stay."""
_RUNNING_GIB = 2.0
"""etcd, logs and what containers write; below 1 GiB the kubelet evicts pods."""
_MEMORY_GIB = 8.5  # what the plan of the stack dev asks for, less what a machine of 9 GiB keeps to itself
_PROGRAMS = {
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "tar": "tar",
}
_FEATURES = {
    "veth links": "ip link add lab0 type veth peer name lab1",
    "bridges": "ip link add labbr type bridge",
    "overlay file systems": "mkdir -p /tmp/l /tmp/u /tmp/w /tmp/m && mount -t overlay overlay -o "
    "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w /tmp/m",
    "bridge netfilter (modprobe br_netfilter)": "[ -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || modprobe "
    "br_netfilter",
}
ALTERNATIVE = "or let another driver do it: cluster.driver: docker in the stack file (a machine with Docker)"


def check(layout: Layout, *, warm: bool) -> None:
    """Raises HostError with all that is missing. `warm`: the programs are there already, so less disk is needed.
    Touches nothing.
    """
    problems = [*_machine(), *_rights(), *_programs()]
    # Only root can read the folders of a cluster that is there; the same check runs again as root.
    if os.geteuid() == 0 or not (layout.state.exists() or layout.run.exists()):
        problems += [*_space(layout, warm=warm), *ownership.foreign(layout), *_addresses(layout)]
    if os.geteuid() == 0 and not problems:
        problems += _features()
    if problems:
        raise HostError(
            "this machine cannot carry the embedded cluster:\n" + "\n".join(f"  - {p}" for p in problems),
            remedy=ALTERNATIVE,
        )


def _machine() -> Iterable[str]:
    if platform.system() != "Linux":
        yield f"Linux is needed, this is {platform.system()}"
        return
    if platform.machine() not in ("x86_64", "aarch64"):
        yield f"x86_64 or arm64 is needed, this is {platform.machine()}"
    if missing := cgroups.missing_controllers():
        yield (
            f"cgroup controllers {', '.join(missing)} are not available: boot with them, or give this container its "
            "own cgroup namespace"
        )


def _rights() -> Iterable[str]:
    if os.geteuid() != 0 and not shutil.which("sudo"):
        yield "root is needed and there is no sudo: run it as root"
    elif not command.can_be_root():
        yield f"{command.NO_ROOT}: {command.GET_ROOT}"


def _programs() -> Iterable[str]:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
    for program, package in _PROGRAMS.items():
        if not shutil.which(program, path=path):
            yield (
                f"{program} is not on PATH: install the package {package} (Debian and Ubuntu have it; other systems "
                "lack apt)"
            )


def _space(layout: Layout, *, warm: bool) -> Iterable[str]:
    needs = _needs(layout, warm=warm)
    needed = sum(needs.values())
    for path in {_existing(layout.cache), _existing(layout.state)}:
        free = shutil.disk_usage(path).free / 2**30
        if free < needed:
            parts = ", ".join(f"{size:.1f} for {what}" for what, size in needs.items())
            yield f"{free:.1f} GiB are free below {path}, {needed:.1f} GiB are needed: {parts}"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    if memory < _MEMORY_GIB:
        yield f"{memory:.1f} GiB of RAM, 9 GiB are needed"


def _needs(layout: Layout, *, warm: bool) -> dict[str, float]:
    """GiB that what is still to be made takes at its worst; what is there already takes nothing more."""
    needs = {} if warm else {"the programs, built from source": _PROGRAMS_GIB}
    if image := sum(still_needed_gib(reference) for reference in layout.plan.images):
        needs["the image"] = image
    if not (layout.state / "etcd" / "member").exists():
        needs["weights"] = _WEIGHTS_GIB
    return {**needs, "the running cluster": _RUNNING_GIB}


def _addresses(layout: Layout) -> Iterable[str]:
    if not 0 <= layout.plan.slot <= SLOTS:
        yield f"slot {layout.plan.slot} does not exist: write one from 0 to {SLOTS} as cluster.slot"
        return
    shown = (
        command.run(["ip", "-json", "route", "show", "table", "main"], timeout=20, check=False).stdout
        if shutil.which("ip")
        else ""
    )
    yield from conflicts(layout, json.loads(shown or "[]"))


def conflicts(layout: Layout, routes: list[dict[str, str]]) -> Iterable[str]:
    """Networks of the machine that overlap the cluster's; its own link does not count."""
    own = [ipaddress.ip_network(n, strict=False) for n in (f"{layout.plan.address}/30", layout.pods, layout.services)]
    for route in routes:
        if route.get("dst", "default") == "default" or layout.link in route.values():
            continue
        network = ipaddress.ip_network(route["dst"], strict=False)
        if any(network.version == 4 and network.overlaps(n) for n in own):
            yield (
                f"the network {network} of this machine overlaps the cluster's ({', '.join(map(str, own))}): write "
                f"another cluster.slot"
            )
    if (alias := namespaces.link_owner(layout.link)) not in (None, layout.link_alias):
        yield f"the link {layout.link} belongs to {alias or 'somebody else'}: write another cluster.slot"


def _features() -> Iterable[str]:
    """Tries each kernel feature in throw-away namespaces, on a throw-away /tmp."""
    for name, script in _FEATURES.items():
        words = ["unshare", "--net", "--mount", "sh", "-c", f"mount -t tmpfs tmpfs /tmp && {script}"]
        done = command.run(words, timeout=30, check=False)
        if done.returncode:
            yield f"the kernel gives no {name}: {(done.stderr or done.stdout).strip()[:200]}"


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
