"""What an image is made of, read from committed files only: pure and quick, so that a plan can know the tag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stacks.errors import HostError

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
INGREDIENTS = ("image.json", "debian.lock", "python.lock")
BUILDER_VERSION = 2
"""Goes up when the code in this folder makes another image out of the same files."""

_TAG_DIGITS = 12


@dataclass(frozen=True)
class Recipe:
    """One image: `document` is image.json, `debian` the base packages with their versions, `digest` the sha256 of all
    ingredients.
    """

    folder: Path
    document: Mapping[str, Any]
    debian: Mapping[str, str]
    digest: str

    @property
    def short(self) -> str:
        """The digits of the digest that name the image."""
        return self.digest[:_TAG_DIGITS]

    @property
    def reference(self) -> str:
        """What a pod's `image` says: the engine's version and what it was made of."""
        return f"{self.document['repository']}:{self.document['version']}-{self.short}"

    @property
    def python_lock(self) -> Path:
        """The hash lock of the Python packages."""
        return self.folder / "python.lock"


@cache
def load(name: str = "vllm-cpu", recipes: Path = RECIPES, builder: int = BUILDER_VERSION) -> Recipe:
    """The recipe called `name`. Raises HostError where a file of it is missing."""
    folder = recipes / name
    digest = hashlib.sha256(f"builder {builder}\n".encode())
    try:
        for ingredient in INGREDIENTS:
            digest.update(f"{ingredient} {hashlib.sha256((folder / ingredient).read_bytes()).hexdigest()}\n".encode())
        document = json.loads((folder / "image.json").read_text(encoding="utf-8"))
        debian = packages((folder / "debian.lock").read_text(encoding="utf-8"))
    except OSError as error:
        raise HostError(
            f"the image recipe {name} is not complete: {error}", remedy="restore host/artifacts/recipes/ from git"
        ) from error
    return Recipe(folder, document, debian, digest.hexdigest())


def recipe_reference() -> str:
    """The reference of the vLLM image that this release builds; reads three committed files and nothing else."""
    return load().reference


def packages(text: str) -> dict[str, str]:
    """Lines `name=version` as a map; blank lines and comments are left out."""
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
