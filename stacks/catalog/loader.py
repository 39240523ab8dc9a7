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

from stacks.catalog.entries import E, Entries, Unread, entry, read_yaml
from stacks.catalog.schema import Fact, Flag, Gpu, Image, Mig, Model, is_id
from stacks.errors import CatalogError, LabError, shown

T = TypeVar("T")

OWN_FOLDER = "catalog"
"""The folder of the user's own models, in the project beside the stack files: so that a reviewer sees the same
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
    mig: Mapping[str, Mig]
    """By the card's name; a card that is not here cannot be cut."""

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


def _entries(kind: type[E], name: str, key: str) -> Unread[E]:
    return Unread(kind, (_HERE / name).read_text(encoding="utf-8"), key, f"stacks/catalog/{name}")


@cache
def _shipped() -> Catalog:
    """The catalogue that ships with the lab."""
    return Catalog(
        gpus=_entries(Gpu, "hardware.yaml", "gpus"),
        models=_entries(Model, "models.yaml", "models"),
        images=_entries(Image, "images.yaml", "images"),
        flags=_entries(Flag, "flags.yaml", "flags"),
        constants=_read("compatibility.yaml"),
        mig=_entries(Mig, "mig.yaml", "cards"),
    )


def load(root: Path | None = None) -> Catalog:
    """The catalogue that ships with the lab and the models in `root`/catalog (without `root`: of the project that this
    file stands in).

    Raises CatalogError where a name in that folder is unusable or taken. A broken entry raises when it is asked for.
    """
    shipped = _shipped()
    own = own_models(root or _PROJECT)
    if not own:
        return shipped
    taken = sorted(name for name in own if name in shipped.models)
    if taken:
        files = ", ".join(f"{OWN_FOLDER}/{name}.yaml" for name in taken)
        raise CatalogError(
            f"the lab already ships a model called {', '.join(taken)}: {files}",
            remedy="choose another id: rename the file, and use it",
        )
    return replace(shipped, models=Entries(shipped.models, own))


def ships(name: str) -> bool:
    """Whether a model of this id ships with the lab."""
    return name in _shipped().models


def own_models(root: Path) -> dict[str, Model | CatalogError]:
    """The entries in `root`/catalog by id, or what is wrong with one. Raises CatalogError for a file whose name is no
    id, or that cannot be read.
    """
    folder = root / OWN_FOLDER
    if not folder.is_dir():
        return {}
    return {path.stem: _own(path) for path in sorted(folder.glob("*.yaml"))}


def _own(path: Path) -> Model | CatalogError:
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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{file}: cannot be read: {error}", remedy=f"type: ls -l {file}") from None
    try:
        return entry(Model, path.stem, read_yaml(text, file), file).model_copy(update={"shipped": False})
    except CatalogError as error:
        return error


def problems(catalog: Catalog) -> list[LabError]:
    """What is wrong with entries of the catalogue, every one of them read."""
    found: list[LabError] = []
    for name in catalog.models:
        try:
            catalog.models[name]
        except CatalogError as error:
            found.append(error)
    return found
