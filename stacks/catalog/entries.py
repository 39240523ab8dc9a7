"""A part of the catalogue, each entry read when it is first asked for: a plan needs one card and a few models, not all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError

from stacks.catalog.schema import Entry
from stacks.errors import CatalogError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a source build of PyYAML may lack libyaml; reading is only slower then
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

E = TypeVar("E", bound=Entry)

_KEY = re.compile(r"^  ([^\s:#][^\s:]*):", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """Where an entry stands: a file's name for messages, its text, and what goes into the entry besides (such as `shipped`)."""

    file: str
    text: str
    extra: Mapping[str, Any]


class Entries(Mapping[str, E], Generic[E]):
    """Entries by id, in the order of their files. Getting one raises CatalogError where its text contradicts the schema."""

    def __init__(self, kind: type[E], sources: Mapping[str, Source]) -> None:
        self._kind = kind
        self._sources = sources
        self._read: dict[str, E] = {}

    def __getitem__(self, name: str) -> E:
        if name not in self._read:
            self._read[name] = _entry(self._kind, name, self._sources[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._sources  # Mapping's own would read the entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def with_more(self, sources: Mapping[str, Source]) -> Entries[E]:
        """These entries and those of `sources`, which has none of their ids."""
        return Entries(self._kind, {**self._sources, **sources})


def read_yaml(text: str, file: str) -> Any:
    """The document in `text`. Raises CatalogError with the place where it is not YAML."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}" if mark else file
        raise CatalogError(
            f"{where}: is not YAML: {getattr(error, 'problem', None) or error}", remedy="correct it there"
        ) from None


def split(text: str, file: str) -> dict[str, Source]:
    """The entries of a file that is one map of entries below one top-level key, two blanks deep, without reading them."""
    starts = [(match.group(1), match.start()) for match in _KEY.finditer(text)]
    ends = [start for _, start in starts[1:]] + [len(text)]
    return {name: Source(file, text[start:end], {}) for (name, start), end in zip(starts, ends, strict=True)}


def _entry(kind: type[E], name: str, source: Source) -> E:
    document = read_yaml(source.text, source.file)
    if isinstance(document, dict) and set(document) == {name} and isinstance(document[name], dict):
        document = document[name]
    if not isinstance(document, dict):
        raise CatalogError(
            f"{source.file}: holds no map", remedy="write one as in stacks/catalog/models.yaml, or remove the file"
        )
    try:
        return kind.model_validate({**document, **source.extra})
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise CatalogError(
            f"{source.file}: {name} contradicts the schema:\n{faults}", remedy=f"correct {source.file}"
        ) from None
