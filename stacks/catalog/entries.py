"""From YAML to entries of the catalogue, each fault with the file that it stands in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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
_BEGIN = re.compile(r"  ([A-Za-z0-9_-][A-Za-z0-9._-]*):(?:\s|$)")


class Entries(Mapping[str, E], Generic[E]):
    """Entries by id: `shipped` ones, then `own`. In the place of a broken one stands its error, which getting it
    raises: it breaks only itself.
    """

    def __init__(self, shipped: Mapping[str, E], own: Mapping[str, E | CatalogError]) -> None:
        self._shipped, self._own = shipped, own

    def __getitem__(self, name: str) -> E:
        if name in self._shipped:
            return self._shipped[name]
        found = self._own[name]
        if isinstance(found, CatalogError):
            raise found.with_traceback(None)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._shipped or name in self._own  # Mapping's own would get the entry

    def __iter__(self) -> Iterator[str]:
        yield from self._shipped
        yield from self._own

    def __len__(self) -> int:
        return len(self._shipped) + len(self._own)


class Unread(Mapping[str, E], Generic[E]):
    """The entries of a file of ours, each read when it is asked for: a plan needs a few of them, and reading all takes
    most of its time. `key` is the file's one top-level key; entries begin two columns in.

    Raises CatalogError for two entries of one id.
    """

    def __init__(self, kind: type[E], text: str, key: str, file: str) -> None:
        self._kind, self._file, self._read = kind, file, dict[str, E]()
        lines = text.splitlines(keepends=True)
        begins = [(n, found.group(1)) for n, line in enumerate(lines) if (found := _BEGIN.match(line))]
        ends = [*(n for n, _ in begins[1:]), len(lines)]
        # empty lines in the place of those before, so that an error names the right line
        self._texts = {
            name: f"{key}:\n" + "\n" * (n - 1) + "".join(lines[n:end])
            for (n, name), end in zip(begins, ends, strict=True)
        }
        self._key = key
        if len(self._texts) != len(begins):
            twice = sorted({name for _, name in begins if sum(other == name for _, other in begins) > 1})
            raise CatalogError(f"{file}: two entries are called {', '.join(twice)}", remedy="remove one")

    def __getitem__(self, name: str) -> E:
        if name not in self._read:
            document = read_yaml(self._texts[name], self._file)
            self._read[name] = entry(self._kind, name, document[self._key][name], self._file)
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._texts  # Mapping's own would read the entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


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


def entry(kind: type[E], name: str, document: object, file: str) -> E:
    """The entry of a document. Raises CatalogError with everything in which it contradicts the schema."""
    if not isinstance(document, dict):
        raise CatalogError(
            f"{file}: holds no map", remedy="write one as in stacks/catalog/models.yaml, or remove the file"
        )
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()
        )
        raise CatalogError(f"{file}: {name} contradicts the schema:\n{faults}", remedy=f"correct {file}") from None
