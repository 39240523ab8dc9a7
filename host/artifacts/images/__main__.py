"""`python -m host.artifacts.images reference|ensure|lock`: for maintainers; the tag, the image, and the lists of what
it is made
of.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from host.artifacts.images import build, contained, envoy, recipe, rootfs, static
from host.artifacts.images.phases import Work
from host.system import command
from stacks.errors import LabError


def main(words: list[str]) -> int:
    """Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    if len(words) != 1 or words[0] not in ("reference", "ensure", "lock"):
        sys.stderr.write("usage: python -m host.artifacts.images {reference|ensure|lock}\n")
        return 2
    try:
        if words == ["lock"]:
            _lock()
        if words == ["ensure"]:
            sys.stdout.write(f"{build.ensure_image(recipe.recipe_reference()).folder}\n")
        made = [recipe.recipe_reference(), envoy.reference(), *(image.reference for image in static.ALL.values())]
        sys.stdout.write("\n".join(made) + "\n")
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _lock() -> None:
    """Makes python.lock from python.in, and debian.lock from what the archive serves today."""
    wanted = recipe.load()
    folder = wanted.folder
    words = [
        "--generate-hashes",
        "--only-binary",
        ":all:",
        "--no-header",
        "--no-annotate",
        "--python-platform",
        "x86_64-manylinux_2_36",
        "--upgrade",
    ]
    command.run(
        [
            contained.uv(),
            "pip",
            "compile",
            "-q",
            "python.in",
            "--override",
            "python.override",
            "--python-version",
            "3.11",
            *words,
            "-o",
            "python.lock",
        ],
        timeout=600,
        cwd=folder,
    )
    with tempfile.TemporaryDirectory() as temporary:
        work = Work(Path(temporary) / "work")
        work.begin()
        unpinned = recipe.Recipe(folder, wanted.document, {}, wanted.digest)
        rootfs.make_rootfs(
            unpinned, work.rootfs, tools=rootfs.tools(build.cache_folder()), busy=work.busy, log=work.log
        )
        lines = (f"{name}={version}\n" for name, version in sorted(rootfs.installed(work.rootfs).items()))
        text = (
            "# Debian packages of the base with their versions; `python -m host.artifacts.images lock` makes it "
            "again.\n" + "".join(lines)
        )
        work.remove(work.rootfs)
    (folder / "debian.lock").write_text(text, encoding="utf-8")
    recipe.load.cache_clear()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
