"""Builds the image once on a machine, and goes on where a killed build stopped."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from host.artifacts.images import disk, envoy, oci, phases, recipe, rootfs, static
from host.artifacts.images.oci import Image
from host.artifacts.images.phases import Work
from host.artifacts.images.recipe import Recipe
from host.system.files import lock, write_atomic
from host.system.progress import step
from stacks.errors import HostError

CACHE = "~/.cache/local-ai-lab"
_PHASES_GIB = {"base": 0.3, "packages": 4.8, "finish": 0.4}
"""What each phase adds to the disk at its worst, measured and rounded up; of the packages' files 1.3 GiB go before the
bytecode comes.
"""
_SPARE_GIB = 1.0


def cache_folder() -> Path:
    """Where everything lies that can be made again."""
    return Path(CACHE).expanduser()


def ensure_image(reference: str) -> Image:
    """The image of `reference`, built now if this machine lacks it.

    One build at a time; a second caller waits and finds it done. Raises HostError where this release makes no such
    image, a program or disk space is missing, or a step failed; the next call goes on from there.
    """
    if reference.startswith(f"{envoy.REPOSITORY}:"):
        return envoy.ensure(reference, cache_folder())
    if reference.partition(":")[0] in static.ALL:
        return static.ensure(reference, cache_folder())
    wanted = recipe.load()
    if reference != wanted.reference:
        raise HostError(
            f"this release builds {wanted.reference}, and the plan asks for {reference}",
            remedy="`python -m host.artifacts.images reference` prints the tag that belongs into "
            "stacks/catalog/images.yaml",
        )
    final = _place(wanted)
    rest = final.folder.with_name(f"{wanted.short}.build")
    if final.is_whole() and not rest.exists():
        return final
    with lock(final.folder.with_name(f"{wanted.short}.lock"), what=f"the image {reference}"):
        if not final.is_whole():
            _build(wanted, final)
        elif rest.exists():  # of a run that was killed after its last step
            work = Work(rest)
            work.begin()
            work.discard()
    return final


def still_needed_gib(reference: str) -> float:
    """GiB of disk that `ensure_image` takes at its worst from here on: 0 where the image is built, less where a build
    was begun.
    """
    if reference.startswith(f"{envoy.REPOSITORY}:"):
        return 0.0 if envoy.stands(cache_folder()) else envoy.NEEDS_GIB
    if reference.partition(":")[0] in static.ALL:
        return static.still_needed_gib(reference, cache_folder())
    wanted = recipe.load()
    final = _place(wanted)
    if reference == wanted.reference and final.is_whole():
        return 0.0
    work = Work(final.folder.with_name(f"{wanted.short}.build"))
    return sum(size for phase, size in _PHASES_GIB.items() if not work.done(phase))


def _place(wanted: Recipe) -> Image:
    return Image(cache_folder() / "images" / wanted.short)


def _build(wanted: Recipe, final: Image) -> None:
    work = Work(final.folder.with_name(f"{wanted.short}.build"))
    _refuse_early(wanted, work)
    work.begin()
    document = wanted.document
    with disk.full_disk_is_said(work.folder, what="the image build"):
        for phase, title, make in _phases(wanted, work):
            if not work.done(phase):
                with step(f"image: {title}"):
                    make()
                    work.mark_done(phase)
        drift = (work.folder / "drift.json").read_text(encoding="utf-8")
        with step("image: its digest"):
            oci.describe(
                work.image, reference=wanted.reference, config=document["config"],
                architecture=document["architecture"],
                labels={"local-ai-lab.recipe": wanted.digest, "local-ai-lab.base-drift": drift}, busy=work.busy,
            )  # fmt: skip
            write_atomic(work.image.folder / "build.json", json.dumps({"drift": json.loads(drift)}, indent=2))
            os.sync()
    _put(work, final)


def _phases(wanted: Recipe, work: Work) -> list[tuple[str, str, Callable[[], None]]]:
    return [
        ("base", "Debian base", lambda: phases.base(wanted, work, cache_folder())),
        (
            "packages",
            f"vLLM {wanted.document['version']} with its Python packages, 2.4 GB to download",
            lambda: phases.packages(wanted, work),
        ),
        ("finish", "trimming, bytecode, a first import", lambda: phases.finish(wanted, work, cache_folder())),
    ]


def _refuse_early(wanted: Recipe, work: Work) -> None:
    if platform.machine() != "x86_64":
        raise HostError(
            f"the CPU image is made for x86_64, and this machine is {platform.machine()}",
            remedy="name an image for it in the stack file",
        )
    missing = rootfs.missing_programs(os.environ.get("PATH", ""))
    if missing:
        raise HostError(
            f"the image build needs {', '.join(missing)}",
            remedy="sudo apt-get install apt dpkg perl util-linux coreutils",
        )
    disk.require(work.folder, still_needed_gib(wanted.reference) + _SPARE_GIB, what=f"the build of {wanted.reference}")


def _put(work: Work, final: Image) -> None:
    """Moves the image to its place in one step and drops the rest of the work."""
    if final.folder.exists():  # a damaged image of ours: is_whole said so under the lock
        if any(p.name not in ("rootfs", "oci", "build.json") for p in final.folder.iterdir()):
            raise HostError(
                f"{final.folder} holds files that the lab did not make",
                remedy=f"move them: mv {final.folder} {final.folder}.mine",
            )
        final.folder.rename(work.folder / "damaged")
    work.image.folder.rename(final.folder)
    work.discard()
    others = sorted(p.name for p in final.folder.parent.iterdir() if p.is_dir() and p != final.folder)
    if others:
        sys.stderr.write(
            f"  images of other releases, kept: {', '.join(others)}; `sudo rm -rf` in {final.folder.parent} frees "
            "them, once the clusters that use them are down\n"
        )
