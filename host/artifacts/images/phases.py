"""The steps from an empty folder to a root file system that serves: each done once, each safe to begin again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from host.artifacts.images import contained, rootfs
from host.artifacts.images.oci import Image
from host.artifacts.images.recipe import Recipe
from host.system import command
from host.system.files import write_atomic
from stacks.errors import HostError

_USER = 2000


class Work:
    """A build's own folder. `done` and `mark_done` survive a kill: a phase without its mark begins again."""

    MARK = ".local-ai-lab-image-build"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = Image(folder / "image")
        self.rootfs = self.image.rootfs
        self.log = folder / "build.log"
        self.busy = folder / "busy"

    def begin(self) -> None:
        """Makes the folder, or takes up an earlier one. Raises HostError where a folder of that name is not ours."""
        mark = self.folder / self.MARK
        if self.folder.exists() and not mark.exists() and any(self.folder.iterdir()):
            raise HostError(
                f"{self.folder} is in the way and was not made by the lab",
                remedy=f"look into it, and move it: mv {self.folder} {self.folder}.mine",
            )
        write_atomic(mark, "a build that has not ended; safe to delete when no lab runs\n")
        self.image.folder.mkdir(mode=0o700, exist_ok=True)

    def done(self, phase: str) -> bool:
        """Whether `phase` ended in this folder."""
        return (self.folder / f"done-{phase}").exists()

    def mark_done(self, phase: str) -> None:
        """Writes down that `phase` ended, after its files reached the disk."""
        os.sync()
        write_atomic(self.folder / f"done-{phase}", "\n")

    def remove(self, path: Path) -> None:
        """Deletes a path inside this folder, root's files too, once no orphan of a killed run works there. Raises
        HostError.
        """
        if self.folder not in path.parents:
            raise HostError(f"a build wanted to delete {path}, which is not its own", remedy="report this")
        if path.exists():
            command.run([*contained.alone(self.busy), "rm", "-rf", "--one-file-system", path], timeout=600, root=True)

    def discard(self) -> None:
        """Removes the folder with everything in it."""
        for entry in sorted(self.folder.iterdir()):
            if entry.is_dir():
                self.remove(entry)
        shutil.rmtree(self.folder)


def base(recipe: Recipe, work: Work, cache: Path) -> None:
    """Debian's essential packages and the recipe's, with a user, and without traces of this machine."""
    work.remove(work.rootfs)
    rootfs.make_rootfs(recipe, work.rootfs, tools=rootfs.tools(cache), busy=work.busy, log=work.log)
    found = rootfs.installed(work.rootfs)
    drift = {
        name: found.get(name) for name in sorted({*found, *recipe.debian}) if found.get(name) != recipe.debian.get(name)
    }
    for name, version in drift.items():
        sys.stderr.write(
            f"! base package {name}: the recipe says {recipe.debian.get(name, 'absent')}, the archive gave "
            f"{version or 'none'}\n"
        )
    write_atomic(work.folder / "drift.json", json.dumps(drift))
    script = (
        f"echo 'vllm:x:{_USER}:{_USER}::/tmp:/usr/sbin/nologin' >> /etc/passwd; echo 'vllm:x:{_USER}:' >> /etc/group\n"
        ": > /etc/resolv.conf; : > /etc/hosts; : > /etc/machine-id; rm -f /etc/hostname /etc/passwd- /etc/group- "
        "/etc/shadow-\n"
    )
    contained.in_root(work.rootfs, script, busy=work.busy, binds={}, timeout=60, log=work.log)


def packages(recipe: Recipe, work: Work) -> None:
    """The Python environment from the hash lock; what a killed try downloaded is used again."""
    document = recipe.document
    venv = f"/{document['venv']}"
    # The installer's cache lies in the root file system, so that files are linked from it and stand on the disk once.
    script = (
        f"rm -rf {venv} && {document['python']} -m venv --without-pip {venv}\n"
        f"UV_CACHE_DIR=/uv-cache UV_LINK_MODE=hardlink /mnt/uv --no-config pip install --quiet --python "
        f"{venv}/bin/python "
        "--no-deps --require-hashes --only-binary :all: -r /mnt/python.lock\n"
        "rm -rf /uv-cache\n"
    )
    where = shutil.which(contained.uv())
    if where is None:
        raise HostError("the installer uv was not found", remedy="./lab makes it part of .venv on its first run")
    binds = {Path(where): "uv", recipe.python_lock: "python.lock"}
    contained.in_root(work.rootfs, script, busy=work.busy, binds=binds, timeout=3600, log=work.log, network=True)


def finish(recipe: Recipe, work: Work, cache: Path) -> None:
    """Takes away what is never read, gives the engine's package its name, compiles to bytecode, and tries the
    result.
    """
    document = recipe.document
    python = f"/{document['venv']}/bin/python"
    alias = document["distributionAlias"]
    # vLLM asks for the version of a package `vllm`, and this build of it is called otherwise.
    metadata = f"{document['venv']}/lib/{document['python']}/site-packages/{alias['name']}-{alias['version']}.dist-info"
    # Times will be zero: bytecode that is checked against them would be thrown away. Without `site` the compiler loads
    # no module of the
    # environment, and equal sources give equal bytes. It fails for files in another Python's syntax, which nobody
    # imports.
    targets = f"/{document['venv']} /usr/lib/{document['python']}"
    script = "\n".join([
        "cd /; set +f",
        f"mkdir -p {metadata}; printf 'Metadata-Version: 2.1\\nName: {alias['name']}\\nVersion: "
        f"{alias['version']}\\n' > {metadata}/METADATA",
        f"rm -rf {' '.join(document['remove'])}",
        f"/usr/bin/{document['python']} -I -S -m compileall -qq -j 0 --invalidation-mode unchecked-hash {targets} || "
        f"true",
        f"cd /tmp; {python} -c {shlex.quote(document['try'])}",
        "rm -rf /root/.cache /var/log/* /var/cache/*",
    ])  # fmt: skip
    rootfs.strip(recipe, work.rootfs, tools=rootfs.tools(cache), busy=work.busy, log=work.log)
    contained.in_root(work.rootfs, script, busy=work.busy, binds={}, timeout=1800, log=work.log)
    # The files are what their archive would unpack to: nothing below the places of mounts, times at zero. No program
    # gains rights: the
    # folder lies in a user's cache.
    settle = (
        'cd "$1"; find dev proc sys mnt tmp run -mindepth 1 -delete; find . -type f -perm /6000 -exec chmod a-s {} +\n'
        "find . -exec touch --no-dereference --date=@0 {} +"
    )
    command.run(
        [*contained.alone(work.busy), "sh", "-euc", settle, "settle", work.rootfs], timeout=300, log=work.log, root=True
    )
