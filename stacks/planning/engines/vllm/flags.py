"""Which flags an engine version has."""

from __future__ import annotations

from stacks.catalog import Catalog
from stacks.catalog.versions import parse


def unknown_flags(args: tuple[str, ...], engine_version: str, catalog: Catalog) -> list[str]:
    """Options that the catalogue does not list for this engine version."""
    have, flags = parse(engine_version), catalog.flags
    return [a for a in args if a.startswith("--") and (a not in flags or parse(flags[a].since) > have)]
