"""Docker's configuration with the NVIDIA runtime in it. Pure: the same entry as `nvidia-ctk runtime configure
--runtime=docker` writes, and everything else as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ENTRY: dict[str, Any] = {"args": [], "path": "nvidia-container-runtime"}


@dataclass(frozen=True)
class Merged:
    """The text to write, and whether it says anything else than before."""

    text: str
    changed: bool


def with_nvidia(text: str | None, is_there: Callable[[str], bool]) -> Merged:
    """The configuration with runtimes.nvidia. An entry that is there stays, unless it names by its full path a program
    that is not there. Raises ValueError where the text is no JSON object of objects.
    """
    document: Any = json.loads(text) if text and text.strip() else {}
    if not isinstance(document, dict) or not isinstance(document.get("runtimes", {}), dict):
        raise ValueError("it is no JSON object whose runtimes are an object")  # noqa: TRY004 (as of the text)
    runtimes = document.get("runtimes", {})
    if _works(runtimes.get("nvidia"), is_there):
        return Merged(text or "", changed=False)
    merged = {**document, "runtimes": {**runtimes, "nvidia": _ENTRY}}
    return Merged(json.dumps(merged, indent=4) + "\n", changed=True)


def _works(entry: Any, is_there: Callable[[str], bool]) -> bool:
    path = entry.get("path") if isinstance(entry, dict) else None
    return bool(path) and (not str(path).startswith("/") or is_there(str(path)))
