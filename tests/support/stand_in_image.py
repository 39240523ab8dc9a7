"""An image of one static program in the place of the vLLM image: built in milliseconds, imported as the real one is."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.artifacts import go_modules
from host.artifacts.images import build, oci, recipe
from host.artifacts.images.oci import Image


@contextmanager
def offered(project: Path, program: Path) -> Iterator[tuple[str, Image]]:
    """Gives the copy of the project in `project` a recipe of its own, and puts the image that it names where the
    builder would put it.

    Yields its reference and the image, which is removed afterwards. The real image and other copies keep theirs.
    """
    recipes = project / "host/artifacts/recipes"
    file = recipes / "vllm-cpu/image.json"
    digest = hashlib.sha256(program.read_bytes() + str(project).encode()).hexdigest()
    file.write_text(json.dumps({**json.loads(file.read_text()), "standIn": digest}))
    wanted = recipe.load(recipes=recipes)
    catalogue = project / "stacks/catalog/images.yaml"
    tag = wanted.reference.rpartition(":")[2]
    text, found = re.subn(
        r"tag: \S+ (# python -m host\.artifacts\.images reference)", rf"tag: {tag} \1", catalogue.read_text()
    )
    assert found == 1, "the catalogue names the recipe's tag otherwise than it did"
    catalogue.write_text(text)
    image = Image(build.cache_folder() / "images" / wanted.short)
    image.rootfs.mkdir(parents=True)
    try:
        shutil.copyfile(program, image.rootfs / "program")
        (image.rootfs / "program").chmod(0o755)
        python = image.rootfs / "usr/bin/python3"  # what a pod that fetches its own weights runs first
        python.parent.mkdir(parents=True)
        python.symlink_to("/program")
        oci.describe(
            image, reference=wanted.reference, config={"User": "65535:65535", "Entrypoint": ["/program"]},
            architecture=go_modules.architecture(), labels={}, busy=project / "busy",
        )  # fmt: skip
        yield wanted.reference, image
    finally:
        shutil.rmtree(image.folder)
