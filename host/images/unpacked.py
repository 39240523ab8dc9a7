"""A built image's root file system on the disk, for as long as something works in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from host.files import lock
from host.images import disk, oci
from host.images.build import cache_folder, ensure_image
from host.images.phases import Work
from host.progress import step

_GIB = 2**30


@contextmanager
def unpacked(reference: str) -> Iterator[Work]:
    """The image's files as `Work.rootfs`, removed afterwards; what a killed run left is removed before. Raises HostError."""
    layout = ensure_image(reference)
    folder = cache_folder() / "images" / f"{layout.parent.name}.unpacked"
    size = sum(path.stat().st_size for path in oci.layer_paths(layout)) / _GIB
    with lock(folder.with_suffix(".unpacked.lock"), what=f"the files of {reference}"):
        work = Work(folder)
        work.begin()
        work.remove(work.rootfs)
        disk.require(folder, size * 1.05 + 0.5, what=f"unpacking {reference}")
        try:
            with step("image: unpacking"):
                oci.unpack(layout, work.rootfs, busy=work.busy, log=work.log)
            yield work
        finally:
            work.discard()
