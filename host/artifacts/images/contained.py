"""Programs that work on a root file system: in mounts and processes of their own, which end with us however we end.

Mounts live in a mount namespace and vanish with it, so a kill leaves none. The process namespace is killed with its
first process, and that one with us; behind sudo host/system/process_guard.py sees to that within a moment, in which the
next run
waits on the lock `busy`.
"""

from __future__ import annotations

import os
import shlex
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from host.system import command

_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_HTTP_TIMEOUT",
)
_INSIDE = "/mnt"


def alone(busy: Path) -> list[str | Path]:
    """The words before a command that wait until no orphan works with `busy`, and make the command end with us."""
    return ["nice", "-n", "5", "setpriv", "--pdeathsig", "KILL", "flock", "--no-fork", busy]


def contained(busy: Path, *, network: bool = True) -> list[str | Path]:
    """The words before a command that give it namespaces of its own and make it end with us."""
    own = ["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", *([] if network else ["--net"])]
    return [*alone(busy), "unshare", *own]


def in_root(
    rootfs: Path,
    script: str,
    *,
    busy: Path,
    binds: Mapping[Path, str],
    timeout: float,
    log: Path,
    writable: Sequence[str] = (),
    read_only: bool = False,
    network: bool = False,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs a shell script as root inside `rootfs`.

    `binds` maps our files and folders to names below /mnt inside, read-only but for the names in `writable`. Nothing of
    them stays in `rootfs`, and with `read_only` nothing else can either: /tmp is then one of its own. The script goes
    in by standard input, so that settings with credentials show neither in a process list nor in a failure. Raises
    CommandFailed.
    """
    place = shlex.quote(str(rootfs))
    shut = [f"mount --bind {place} {place}", f"mount -o remount,bind,ro {place}"] if read_only else []
    lines = [
        "set -eu",
        *shut,
        f"cd {place}",
        *(["mount -t tmpfs -o mode=1777 lab tmp"] if read_only else []),
        "mount --bind /dev dev",
        "mount -t proc proc proc",
        "mount -t tmpfs -o mode=0755 lab mnt",
    ]
    settings = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/tmp",  # noqa: S108
        "LC_ALL": "C.UTF-8",
        **(environment or {}),
    }
    binds = dict(binds)
    if network:
        lines += ["mount --bind /etc/resolv.conf etc/resolv.conf", "mount --bind /etc/hosts etc/hosts"]
        settings |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        authorities = ssl.get_default_verify_paths().cafile
        if authorities:
            binds[Path(authorities)] = "authorities.pem"
            settings["SSL_CERT_FILE"] = f"{_INSIDE}/authorities.pem"
    for source, name in binds.items():
        inside = shlex.quote(f"mnt/{name}")
        lines.append(f"mkdir {inside}" if source.is_dir() else f": > {inside}")
        lines.append(f"mount --bind {shlex.quote(str(source.resolve()))} {inside}")
        if name not in writable:
            lines.append(f"mount -o remount,bind,ro {inside}")
    assignments = " ".join(shlex.quote(f"{key}={value}") for key, value in settings.items())
    lines.append(f"exec chroot . /usr/bin/env -i {assignments} /bin/sh -euc {shlex.quote(script)}")
    command.run(
        [*contained(busy, network=network), "sh", "-s"],
        timeout=timeout,
        log=log,
        root=True,
        text="\n".join(lines) + "\n",
    )


def uv() -> Path:
    """The installer beside our own interpreter, or else the one on PATH."""
    beside = Path(sys.executable).parent / "uv"
    return beside if beside.exists() else Path("uv")
