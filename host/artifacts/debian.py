"""Programs from Debian packages without installing them: apt's own resolver and signature checks, unpacked into a
private prefix.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from host.system import command, files
from host.system.progress import step
from stacks.errors import HostError

_SIMULATED = re.compile(r"^Inst (?P<name>\S+) (?P<old>\[[^]]+\] )?\((?P<version>\S+) ", re.MULTILINE)
# What a running system already holds in the right version; a second copy on the library path would break its programs.
_NEVER = frozenset({"libc6", "libc-bin", "libgcc-s1", "libstdc++6"})


def prefix_if_unpacked(packages: Sequence[str], cache: Path) -> Path | None:
    """The prefix that `unpack` made earlier for these packages, or None."""
    folder = _folder(packages, cache)
    return folder if (folder / "packages.json").exists() else None


def unpack(packages: Sequence[str], cache: Path) -> Path:
    """Downloads those of `packages` and of what they need that the system lacks, and unpacks them; returns the prefix.

    Nothing is installed and no package script runs. Raises HostError.
    """
    target = _folder(packages, cache)
    if (target / "packages.json").exists():
        return target
    with files.lock(target.with_name(f".{target.name}.lock"), what=f"the packages {', '.join(packages)}"):
        if (target / "packages.json").exists():
            return target
        with step(f"Debian packages {', '.join(packages)}"):
            work = target.with_name(f".{target.name}.partial")
            shutil.rmtree(work, ignore_errors=True)
            (work / "root").mkdir(parents=True)
            wanted = download(packages, work, cache)
            for package in sorted(work.glob("*.deb")):
                command.run(["dpkg-deb", "--extract", package, work / "root"], timeout=120)
                package.unlink()
            files.write_atomic(work / "packages.json", json.dumps(wanted, indent=2, sort_keys=True))
            shutil.rmtree(target, ignore_errors=True)
            work.rename(target)
    return target


def download(packages: Sequence[str], folder: Path, cache: Path) -> dict[str, str]:
    """Puts the missing ones of `packages` with all they need into `folder` as .deb files; returns name -> version.

    apt verifies them against its signed lists; where the system has no lists, or they are too old, private ones are
    fetched.
    """
    try:
        return _download(packages, folder, ())
    except command.CommandFailed:
        lists = cache / "apt"
        (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        options = (
            "-o",
            f"Dir::State::lists={lists}/lists",
            "-o",
            f"Dir::Cache={lists}",
            "-o",
            "Debug::NoLocking=true",
            "-o",
            "APT::Sandbox::User=root",
        )
        command.run(["apt-get", *options, "update"], timeout=300)
        return _download(packages, folder, options)


def _download(packages: Sequence[str], folder: Path, options: Sequence[str]) -> dict[str, str]:
    simulated = command.run(
        ["apt-get", *options, "install", "--simulate", "--no-install-recommends", *packages],
        timeout=120,
        environment={"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    ).stdout
    wanted = parse_simulation(simulated, packages)
    if wanted:
        exact = [f"{name}={version}" for name, version in sorted(wanted.items())]
        command.run(["apt-get", *options, "-o", "APT::Sandbox::User=root", "download", *exact], timeout=600, cwd=folder)
    return wanted


def parse_simulation(text: str, packages: Sequence[str]) -> dict[str, str]:
    """The packages that apt would install, name -> version; upgrades of installed ones only where they were asked for
    by name.
    """
    found = [
        m for m in _SIMULATED.finditer(text) if m["name"] not in _NEVER and (not m["old"] or m["name"] in packages)
    ]
    return {m["name"]: m["version"] for m in found}


def search_path(prefix: Path) -> list[str]:
    """The folders of a prefix that hold programs."""
    return [str(prefix / "root" / part) for part in ("usr/sbin", "usr/bin", "sbin", "bin")]


def library_path(prefix: Path) -> list[str]:
    """The folders of a prefix that hold shared libraries."""
    return [str(p) for part in ("usr/lib", "lib") for p in sorted((prefix / "root" / part).glob("*-linux-gnu"))]


def _folder(packages: Sequence[str], cache: Path) -> Path:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        raise HostError(
            "this Linux does not say which distribution it is", remedy="the embedded driver needs Debian or Ubuntu"
        ) from None
    codename = release.get("VERSION_CODENAME", release.get("ID", "debian"))
    key = hashlib.sha256(repr((sorted(packages), codename, os.uname().machine)).encode()).hexdigest()[:12]
    return cache / "debian" / f"{codename}-{key}"
