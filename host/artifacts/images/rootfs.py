"""A Debian root file system from Debian's signed archive, at the recipe's versions.

mmdebstrap and strip come as packages into a folder of ours and are never installed. A version that the archive no
longer serves (security updates replace the ones before) is taken in its newest version of the same suite: the caller
compares, says so and writes it down. For exact versions set LAB_DEBIAN_MIRROR to a snapshot of the archive, or make the
list again: `python -m host.artifacts.images lock`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host.artifacts import debian
from host.artifacts.images import recipe
from host.artifacts.images.contained import alone, contained
from host.artifacts.images.recipe import Recipe
from host.system import command
from host.system.command import CommandFailed
from stacks.errors import HostError

_MMDEBSTRAP, _STRIP = "usr/bin/mmdebstrap", "usr/bin/strip"
_KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"
_NEEDED = ("apt-get", "dpkg-deb", "perl", "unshare", "setpriv", "flock", "chroot")


@dataclass(frozen=True)
class Tools:
    """The program that makes root file systems, the keys that it trusts, and binutils' strip with the folders of its
    libraries.
    """

    mmdebstrap: Path
    keyring: Path
    strip: Path
    libraries: tuple[str, ...]


def tools(cache: Path) -> Tools:
    """From Debian packages unpacked below `cache`, or the system's own where it has them. Raises HostError."""
    prefix = debian.unpack(["mmdebstrap", "debian-archive-keyring", "binutils"], cache)
    libraries = tuple(debian.library_path(prefix))
    return Tools(_find(prefix, _MMDEBSTRAP), _find(prefix, _KEYRING), _find(prefix, _STRIP), libraries)


def _find(prefix: Path, part: str) -> Path:
    for base in (prefix / "root", Path("/")):
        if (base / part).exists():
            return base / part
    raise HostError(f"the packages in {prefix} lack {part}", remedy=f"rm -rf {prefix}, and run the same command again")


def pins(versions: Mapping[str, str]) -> str:
    """apt preferences that take exactly `versions` where the archive has them, and its own choice where not."""
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n" for name, version in versions.items()
    )


def make_rootfs(wanted: Recipe, target: Path, *, tools: Tools, busy: Path, log: Path) -> None:
    """Makes `target`, which must not exist. Raises HostError with the way out where the archive cannot be reached."""
    preferences = log.with_name("preferences")
    preferences.write_text(pins(wanted.debian), encoding="utf-8")
    mirror = os.environ.get("LAB_DEBIAN_MIRROR")
    words = [
        "env", "LC_ALL=C", "SOURCE_DATE_EPOCH=0", f"PATH={tools.mmdebstrap.parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "perl", tools.mmdebstrap, "--mode=root", "--format=directory", "--variant=essential",
        f"--architectures={wanted.document['architecture']}", f"--include={','.join(wanted.document['include'])}",
        f"--keyring={tools.keyring}", f'--setup-hook=cp {shlex.quote(str(preferences))} '
                                      f'"$1"/etc/apt/preferences.d/local-ai-lab',
        wanted.document["suite"], target, *([mirror] if mirror else []),
    ]  # fmt: skip
    try:
        command.run([*contained(busy), *words], timeout=1200, log=log, root=True)
    except CommandFailed as error:
        if (
            "Failed to fetch" in error.output
            or "Could not resolve" in error.output
            or "Unable to locate" in error.output
        ):
            raise HostError(
                f"Debian's archive could not be read for the image's base; {log} has the whole story",
                remedy="check the network and run the same command again; with a mirror of your own: "
                "LAB_DEBIAN_MIRROR=URL ./lab up STACK",
            ) from error
        raise


def strip(wanted: Recipe, target: Path, *, tools: Tools, busy: Path, log: Path) -> None:
    """Takes debug information and local symbols, which no process reads, out of the recipe's libraries in `target`.
    Raises CommandFailed.
    """
    script = (
        f'cd "$1"; for file in {" ".join(wanted.document["strip"])}; do\n'
        'LD_LIBRARY_PATH="$3" "$2" --strip-unneeded -o "$file.stripped" "$file"; mv "$file.stripped" "$file"; done'
    )
    words = [*alone(busy), "sh", "-euc", script, "strip", target, tools.strip, ":".join(tools.libraries)]
    command.run(words, timeout=300, log=log, root=True)


def installed(rootfs: Path) -> dict[str, str]:
    """Packages with their versions as `rootfs` has them. Raises CommandFailed."""
    admin = rootfs / "var/lib/dpkg"
    said = command.run(["dpkg-query", f"--admindir={admin}", "-W", "-f", "${Package}=${Version}\n"], timeout=60).stdout
    return recipe.packages(said)


def missing_programs(path: str) -> list[str]:
    """Programs that a build needs and that none of the folders in `path` has."""
    folders = [Path(folder) for folder in (*path.split(":"), "/usr/sbin", "/sbin")]
    return [name for name in _NEEDED if not any((folder / name).exists() for folder in folders)]
