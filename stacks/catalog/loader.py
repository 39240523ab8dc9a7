"""Typed, frozen access to the catalogue: the YAML files that ship with the lab, and the models of the user's own in
`catalog/`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from stacks.catalog.entries import Entries, Source, read_yaml, split
from stacks.catalog.schema import Fact, Flag, Gpu, Image, Model, is_id
from stacks.errors import CatalogError, LabError, shown

T = TypeVar("T")

OWN_FOLDER = "catalog"
"""The folder of the user's own models, in the project beside the stack files: whoever reviews the change sees the same
numbers.
"""

_HERE = Path(__file__).parent
_PROJECT = _HERE.parent.parent
_MOST_HINTS = 4
_LARGEST = 2**18  # bytes of an entry; a config.json with every layer's type has about 10 kB


@dataclass(frozen=True, eq=False)
class Catalog:
    """Everything the planner may take as true."""

    gpus: Mapping[str, Gpu]
    models: Mapping[str, Model]
    images: Mapping[str, Image]
    flags: Mapping[str, Flag]
    constants: Mapping[str, dict[str, Any]]

    def gpu(self, name: str) -> Gpu:
        """The card called `name`; raises CatalogError with the names there are."""
        return _find(self.gpus, name, "GPU")

    def model(self, name: str) -> Model:
        """The model called `name`; raises CatalogError with the names there are."""
        return _find(self.models, name, "model")

    def fact(self, path: str) -> Fact[Any]:
        """A planner constant such as `gpuEngine.contextGiB`. Raises KeyError for a path that does not exist (a bug, not
        user input).
        """
        here: Any = self.constants
        for part in path.split("."):
            here = here[part]
        return Fact[Any].model_validate(here)

    def number(self, path: str) -> float:
        """The value of a numeric constant."""
        return float(self.fact(path).value)


def _find(entries: Mapping[str, T], name: str, what: str) -> T:
    if name in entries:
        return entries[name]
    near = sorted(known for known in entries if known.startswith(name)) or difflib.get_close_matches(
        name, entries, n=3, cutoff=0.4
    )
    hint = f"did you mean {_either(near[:_MOST_HINTS])}? " if near else ""
    raise CatalogError(
        f"the catalogue knows no {what} called {shown(name)}",
        remedy=f"{hint}all {len(entries)} of them: ./lab {what.lower()}s",
    )


def _either(names: Sequence[str]) -> str:
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _read(name: str) -> dict[str, Any]:
    return dict(read_yaml((_HERE / name).read_text(encoding="utf-8"), f"stacks/catalog/{name}"))


def _entries(name: str) -> dict[str, Source]:
    return split((_HERE / name).read_text(encoding="utf-8"), f"stacks/catalog/{name}")


@cache
def _shipped() -> Catalog:
    """The catalogue that ships with the lab."""
    try:
        return Catalog(
            gpus=Entries(Gpu, _entries("hardware.yaml")),
            models=Entries(Model, _entries("models.yaml")),
            images={name: Image.model_validate(image) for name, image in _read("images.yaml")["images"].items()},
            flags={name: Flag.model_validate(flag) for name, flag in _read("flags.yaml")["flags"].items()},
            constants=_read("compatibility.yaml"),
        )
    except ValidationError as error:
        raise CatalogError(f"the catalogue is broken: {error}", remedy="restore stacks/catalog/ from git") from error


def load(root: Path | None = None) -> Catalog:
    """The catalogue that ships with the lab and the models in `root`/catalog (without `root`: of the project that this
    file stands in).

    Raises CatalogError where a name in that folder is unusable or taken. An entry is read, and may raise, when it is
    first asked for.
    """
    shipped = _shipped()
    own = own_models(root or _PROJECT)
    if not own:
        return shipped
    assert isinstance(shipped.models, Entries)  # noqa: S101  (what _shipped made)
    taken = sorted(name for name in own if name in shipped.models)
    if taken:
        files = ", ".join(f"{OWN_FOLDER}/{name}.yaml" for name in taken)
        raise CatalogError(
            f"the lab already ships a model called {', '.join(taken)}: {files}",
            remedy="choose another id: rename the file, and use it",
        )
    return replace(shipped, models=shipped.models.with_more(own))


def ships(name: str) -> bool:
    """Whether a model of this id ships with the lab."""
    return name in _shipped().models


def own_models(root: Path) -> dict[str, Source]:
    """The entries in `root`/catalog by id, unread. Raises CatalogError for a file whose name is no id, or that cannot
    be read.
    """
    folder = root / OWN_FOLDER
    if not folder.is_dir():
        return {}
    return {path.stem: _own(path) for path in sorted(folder.glob("*.yaml"))}


def _own(path: Path) -> Source:
    file = f"{OWN_FOLDER}/{path.name}"
    if not is_id(path.stem):
        raise CatalogError(
            f"{shown(file)}: the name is no id: small letters, digits, dots and hyphens, at most 80",
            remedy="rename the file, or remove it",
        )
    try:
        if path.stat().st_size > _LARGEST:
            raise CatalogError(
                f"{file}: is larger than {_LARGEST:,} bytes",
                remedy="keep only the keys of config.json that say the shape",
            )
        return Source(file, path.read_text(encoding="utf-8"), {"shipped": False})
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: cannot be read: {error}", remedy=f"type: ls -l {file}") from None


def problems(catalog: Catalog) -> list[LabError]:
    """What is wrong with entries of the catalogue, every one of them read."""
    found: list[LabError] = []
    for name in catalog.models:
        try:
            catalog.models[name]
        except CatalogError as error:
            found.append(error)
    return found
