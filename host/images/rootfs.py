"""A Debian root file system from Debian's signed archive, at the recipe's versions.

mmdebstrap comes as a package into a folder of ours and is never installed. A version that the archive no longer serves (security updates
replace the ones before) is taken in its newest version of the same suite: the caller compares, says so and writes it down. For exact
versions set LAB_DEBIAN_MIRROR to a snapshot of the archive, or make the list again: `python -m host.images lock`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host import command
from host.artifacts import debian
from host.command import CommandFailed
from host.images import recipe
from host.images.contained import contained
from host.images.recipe import Recipe
from stacks.errors import HostError

_PROGRAM = "usr/bin/mmdebstrap"
_KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"
_NEEDED = ("apt-get", "dpkg-deb", "perl", "unshare", "setpriv", "flock", "chroot")


@dataclass(frozen=True)
class Tools:
    """The program that makes root file systems, and the keys that it trusts."""

    mmdebstrap: Path
    keyring: Path


def tools(cache: Path) -> Tools:
    """Both from Debian packages unpacked below `cache`, or the system's own where it has them. Raises HostError."""
    root = debian.unpack(["mmdebstrap", "debian-archive-keyring"], cache) / "root"
    found = [next((base / part for base in (root, Path("/")) if (base / part).exists()), None) for part in (_PROGRAM, _KEYRING)]
    if found[0] is None or found[1] is None:
        raise HostError(
            f"the packages in {root} lack mmdebstrap or Debian's keys", remedy=f"rm -rf {root.parent}, and run the same command again"
        )
    return Tools(found[0], found[1])


def pins(versions: Mapping[str, str]) -> str:
    """apt preferences that take exactly `versions` where the archive has them, and its own choice where not."""
    return "\n".join(f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" for name, version in versions.items())


def make_rootfs(wanted: Recipe, target: Path, *, tools: Tools, busy: Path, log: Path) -> None:
    """Makes `target`, which must not exist. Raises HostError with the way out where the archive cannot be reached."""
    preferences = target.parent / "preferences"
    preferences.write_text(pins(wanted.debian), encoding="utf-8")
    mirror = os.environ.get("LAB_DEBIAN_MIRROR")
    words = [
        "env", "LC_ALL=C", "SOURCE_DATE_EPOCH=0", f"PATH={tools.mmdebstrap.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "perl", tools.mmdebstrap, "--mode=root", "--format=directory", "--variant=essential",
        f"--architectures={wanted.document['architecture']}", f"--include={','.join(wanted.document['include'])}",
        f"--keyring={tools.keyring}", f'--setup-hook=cp {shlex.quote(str(preferences))} "$1"/etc/apt/preferences.d/local-ai-lab',
        wanted.document["suite"], target, *([mirror] if mirror else []),
    ]  # fmt: skip
    try:
        command.run([*contained(busy), *words], timeout=1200, log=log, root=True)
    except CommandFailed as error:
        if "Failed to fetch" in error.output or "Could not resolve" in error.output or "Unable to locate" in error.output:
            raise HostError(
                f"Debian's archive could not be read for the image's base; {log} has the whole story",
                remedy="check the network and run the same command again; with a mirror of your own: LAB_DEBIAN_MIRROR=URL ./lab up STACK",
            ) from error
        raise


def installed(rootfs: Path) -> dict[str, str]:
    """Packages with their versions as `rootfs` has them. Raises CommandFailed."""
    admin = rootfs / "var/lib/dpkg"
    said = command.run(["dpkg-query", f"--admindir={admin}", "-W", "-f", "${Package}=${Version}\n"], timeout=60).stdout
    return recipe.packages(said)


def missing_programs(path: str) -> list[str]:
    """Programs that a build needs and that none of the folders in `path` has."""
    folders = [Path(folder) for folder in (*path.split(":"), "/usr/sbin", "/sbin")]
    return [name for name in _NEEDED if not any((folder / name).exists() for folder in folders)]
