"""Edits of a stack's configuration map, as a person would type them."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stacks.errors import Edit

_PART = re.compile(r"(?:^|\.)([A-Za-z][A-Za-z0-9]*)|\[([0-9]+)\]")


def apply_edits(config: Mapping[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """A copy of `config` (keys without the project prefix) with the edits made; a None value takes its line out, a
    model too.

    Raises ValueError for a path that is none, KeyError or IndexError where its parent does not exist.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(config))
    for edit in sorted(edits, key=_order):
        *parents, last = _parts(edit.path)
        here: Any = changed
        for part in parents:
            here = here[part] if isinstance(part, int) or part in here else here.setdefault(part, {})
        if edit.value is not None:
            here[last] = edit.value
        elif isinstance(last, int):
            del here[last]
        else:
            here.pop(last, None)
    return changed


def _order(edit: Edit) -> tuple[bool, int, str]:
    """Models are taken out last and from the end, so that every index stays true until its edit is made."""
    whole = edit.value is None and edit.path.endswith("]")
    return whole, -int(_parts(edit.path)[-1]) if whole else 0, edit.path


def _parts(path: str) -> list[str | int]:
    found = [*_PART.finditer(path)]
    if not found or "".join(m.group(0) for m in found) != path:
        raise ValueError(f"{path} is no path of a stack file")
    return [int(m.group(2)) if m.group(2) else m.group(1) for m in found]
