"""From YAML to entries of the catalogue, each fault with the file that it stands in."""

from __future__ import annotations

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


class Entries(Mapping[str, E], Generic[E]):
    """Entries by id. In the place of a broken one stands its error, which getting it raises: it breaks only itself."""

    def __init__(self, found: Mapping[str, E | CatalogError]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> E:
        found = self._found[name]
        if isinstance(found, CatalogError):
            raise found.with_traceback(None)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._found  # Mapping's own would get the entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


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
