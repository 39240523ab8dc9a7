"""Names as people type them: rtx4090 for rtx-4090, llama3.1-8b for the one model that it begins."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def find(name: str, known: Iterable[str]) -> str | list[str]:
    """The one entry of `known` that `name` means, or the entries that come near it (perhaps none).

    Case, blanks, hyphens, dots and a leading `nvidia` or `geforce` do not count; a beginning suffices where only one
    entry has it.
    """
    entries = {_plain(entry): entry for entry in known}
    wanted = _plain(name)
    if wanted in entries:
        return entries[wanted]
    begun = sorted(entry for plain, entry in entries.items() if wanted and plain.startswith(wanted))
    if len(begun) == 1:
        return begun[0]
    inside = sorted(entry for plain, entry in entries.items() if wanted and wanted in plain)
    if len(inside) == 1:
        return inside[0]
    return begun or inside or [entries[plain] for plain in difflib.get_close_matches(wanted, entries, n=3, cutoff=0.5)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(nvidia|geforce|\s|-)+", "", name.lower()))
