"""The words of a card's name that distinguish its model from others."""

from __future__ import annotations

import re

_SAID = re.compile(r"[a-z0-9]+")
# Words that are in the names of many cards; sizes are compared as numbers.
_EMPTY = frozenset({
    "nvidia", "geforce", "tesla", "quadro", "gpu", "developer", "kit", "generation", "edition", "workstation", "server",
    "max", "q", "with", "modified", "module", "sxm2", "sxm3", "sxm4", "sxm5", "pcie", "hbm2", "hbm2e", "hbm3", "hbm3e",
    "nvl", "gb",
})  # fmt: skip
_SIZE = re.compile(r"[0-9]+gb?")


def distinctive_words(name: str) -> tuple[str, ...]:
    """Sorted, in lower case: of `NVIDIA-A100-SXM4-40GB` and of `NVIDIA A100 80GB` alike it is a100."""
    words = _SAID.findall(name.lower())
    distinctive = {w for n, w in enumerate(words) if w not in _EMPTY and not _is_size(w, words[n + 1 : n + 2])}
    return tuple(sorted(distinctive))


def _is_size(word: str, following: list[str]) -> bool:
    return (word.endswith("gb") and bool(_SIZE.fullmatch(word))) or (word.isdigit() and following == ["gb"])
