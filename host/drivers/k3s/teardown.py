"""What K3s' own k3s-killall.sh and k3s-uninstall.sh do, step by step: each step may be killed and is done again."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from pathlib import Path
from typing import Final

from host.drivers.k3s.machine import BINARY, DATA, OWNERS, UNIT, Machine, contents
from host.system import command
from stacks.errors import HostError

FOLDERS: Final = (
    "/run/k3s", "/run/flannel", "/etc/rancher/k3s", "/var/lib/kubelet", "/var/lib/cni/networks/cbr0", DATA,
)  # fmt: skip
FILES: Final = (UNIT, "/etc/systemd/system/k3s.service.env", BINARY)
_MOUNTS = ("/run/k3s", DATA, "/var/lib/kubelet", "/run/netns/cni-")
_LINKS = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0")
_SHIM = re.compile(re.escape(DATA) + r"/data/[^/]*/bin/containerd-shim")
_OURS = re.compile(r"KUBE-|CNI-|(?i:flannel)")
_SECONDS = 120.0
_SHIM_TRIES = 20


def remove(machine: Machine) -> list[Path]:
    """Nothing of K3s is left afterwards but its mark; returns what is the owner's and stays. Raises HostError where
    some cannot be removed.
    """
    require_outside(machine, (Path("~/.cache/local-ai-lab").expanduser(), *_cache()))
    if machine.at(UNIT).exists():
        _run(machine, "systemctl", "disable", "--now", "k3s")
    _end_shims(machine)
    _unmount(machine)
    _disconnect(machine)
    for program in ("iptables", "ip6tables"):
        _take_rules(machine, program)
    kept = [path for folder in FOLDERS for path in _delete(machine.at(folder))]
    for path in FILES:
        for left in (machine.at(path), *machine.at(path).parent.glob(f".{Path(path).name}.[0-9]*")):
            left.unlink(missing_ok=True)
    _run(machine, "systemctl", "daemon-reload")
    _run(machine, "systemctl", "reset-failed", "k3s", check=False)  # it has not failed, as a rule
    return kept


def _delete(folder: Path) -> list[Path]:
    """The folder is gone afterwards, or as empty as a new one where a disk is mounted on it, or the owner's registries
    are in it. Of a link the link alone goes. Returns what stays.
    """
    if folder.is_symlink():
        target = folder.resolve()
        folder.unlink()
        return [target]
    if not folder.exists():
        return []
    for path in contents(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if any(folder.iterdir()):
        return [folder / OWNERS] if (folder / OWNERS).exists() else []
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:  # a disk is mounted there
            raise
    return []


def require_outside(machine: Machine, kept: tuple[Path, ...]) -> None:
    """Raises HostError where one of these lies in a folder that K3s' removal deletes."""
    for folder in FOLDERS:
        for path in kept:
            if path.resolve().is_relative_to(machine.at(folder).resolve()):
                raise HostError(
                    f"{path} lies in {folder}, which goes with K3s: nothing was removed",
                    remedy=f"move it out of {folder}; then the same again",
                )


def mounts(machine: Machine) -> list[str]:
    """What is mounted in K3s' places, also where a link leads there, the innermost first."""
    places = {place for path in _MOUNTS for place in (path, _real(machine, path))}
    text = machine.at("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    points = [line.split(" ")[1] for line in text.splitlines() if line]
    decoded = [re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), point) for point in points]
    return sorted((p for p in decoded if _in_place(p, places)), reverse=True)


def _in_place(point: str, places: set[str]) -> bool:
    return any(point.startswith(p if p.endswith("-") else f"{p}/") for p in places)


def _real(machine: Machine, path: str) -> str:
    """Where the path leads, as the kernel's list of mounts names it."""
    real, root = machine.at(path).resolve(), machine.root.resolve()
    return f"/{real.relative_to(root)}" if real.is_relative_to(root) else str(real)


def _cache() -> tuple[Path, ...]:
    said = os.environ.get("LAB_CACHE")
    return (Path(said).expanduser(),) if said else ()


def _end_shims(machine: Machine) -> None:
    """Ends K3s' containerd shims with all that they started: a stop of the service leaves the pods running."""
    for _ in range(_SHIM_TRIES):
        found = _shims(machine)
        if not found:
            return
        _run(machine, "kill", "-9", *(str(pid) for pid in found), check=False)  # some may have ended since
        time.sleep(0.1)
    raise HostError(f"K3s' processes {_shims(machine)} do not end", remedy="the same again; else restart the machine")


def _shims(machine: Machine) -> list[int]:
    parents: dict[int, int] = {}
    shims: set[int] = set()
    for folder in machine.at("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            # the name in brackets may hold blanks; the parent is the second word behind it
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue  # it has ended
        if _SHIM.match(words[0].decode(errors="replace")):
            shims.add(int(folder.name))
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in shims} - shims
        shims |= more
        grown = bool(more)
    return sorted(shims)


def _unmount(machine: Machine) -> None:
    """Unmounts before anything is deleted: the weights are mounted into the pods. Raises HostError where one stays."""
    for point in mounts(machine):
        _run(machine, "umount", "-f", point, check=False)
    if left := mounts(machine):
        raise HostError(
            f"still mounted: {', '.join(left)}; nothing was deleted",
            remedy="the same again; else restart the machine, and then the same again",
        )


def _disconnect(machine: Machine) -> None:
    for space in sorted(machine.at("/run/netns").glob("cni-*")):
        _run(machine, "ip", "netns", "delete", space.name)
    links = machine.at("/sys/class/net")
    ports = [p.name for p in links.glob("*") if (p / "master").exists() and (p / "master").resolve().name == "cni0"]
    for link in (*sorted(ports), *_LINKS):
        if (links / link).exists():
            _run(machine, "ip", "link", "delete", link)


def _take_rules(machine: Machine, program: str) -> None:
    """Takes the rules and chains of K3s out, and no others; none where the program is not there."""
    try:
        text = _run(machine, f"{program}-save", check=False)
    except command.CommandFailed:
        return
    kept = [line for line in text.splitlines() if not _OURS.search(line)]
    if kept != text.splitlines():
        _run(machine, f"{program}-restore", text="\n".join(kept) + "\n")


def _run(machine: Machine, *words: str, text: str | None = None, check: bool = True) -> str:
    """Runs a program of the machine, or of those that K3s brings where the machine has none."""
    own = [str(p) for p in machine.at(DATA).glob("data/*/bin")]
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *own, *(f"{p}/aux" for p in own)])
    return command.run(words, timeout=_SECONDS, environment={"PATH": path}, text=text, check=check).stdout
