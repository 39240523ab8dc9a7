"""What images of one program have alike, which are made here in one step: where they lie, that they are made once, and
how their files become an image.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from host.artifacts import go_modules
from host.artifacts.images import oci
from host.artifacts.images.contained import alone
from host.artifacts.images.oci import Image
from host.system import command
from host.system.files import lock
from stacks.errors import HostError

USER = 65532


def require(asked: str, wanted: str) -> None:
    """Raises HostError where this release does not make the image that a plan asks for."""
    if asked != wanted:
        raise HostError(
            f"this release makes {wanted}, and the plan asks for {asked}",
            remedy="write that tag into stacks/catalog/images.yaml",
        )


def place(cache: Path, program: str, digest: str) -> Image:
    """Where the image of that digest is, or will be."""
    return Image(cache / "images" / f"{program}-{digest[:12]}")


def ensure(image: Image, reference: str, make: Callable[[], None]) -> Image:
    """The image, made now if this machine lacks it; one run at a time makes it."""
    if image.is_whole():
        return image
    with lock(image.folder.with_name(f"{image.folder.name}.lock"), what=f"the image {reference}"):
        if not image.is_whole():
            make()
    return image


def assemble(
    final: Image,
    fill: Callable[[Image], None],
    *,
    reference: str,
    config: dict[str, Any],
    digest: str,
    settle: str = "",
) -> None:
    """Makes the image in one step: `fill` puts its files into a folder beside it, and `settle` is shell that root runs
    on them, "$1" being their root. Raises HostError.
    """
    work = Image(final.folder.with_name(f"{final.folder.name}.build"))
    busy = work.folder / "busy"
    for folder in (work.folder, final.folder):  # of a killed run, or damaged
        if folder.exists():
            command.run(["rm", "-rf", "--one-file-system", folder], timeout=60, root=True)
    work.folder.mkdir(parents=True, mode=0o700)
    fill(work)
    # the folder lies in a user's cache, and clusters share its files: they are root's from here on
    script = f'chown -R 0:0 "$1"; {settle} find "$1" -exec touch --no-dereference --date=@0 {{}} +'
    command.run([*alone(busy), "sh", "-euc", script, "settle", work.rootfs], timeout=60, root=True)
    oci.describe(
        work, reference=reference, config=config, architecture=go_modules.architecture(),
        labels={"local-ai-lab.recipe": digest}, busy=busy,
    )  # fmt: skip
    os.sync()
    busy.unlink(missing_ok=True)
    work.folder.rename(final.folder)
