"""Looks at a checkpoint in a folder: config.json, the safetensors index and the headers of the weights. Reads no
weights, runs nothing.
"""

from __future__ import annotations

import json
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file that are read: the index of the largest models has about ten million."""

_POINTER = b"version https://git-lfs"
_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})$")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass
class Checkpoint:
    """What a checkpoint's files say. `sizes` are bytes by file name; `elements` counts values by safetensors dtype.

    `problems` are pairs of what is wrong and what to do about it; with one of them the rest may be incomplete.
    """

    where: str
    repository: str | None = None
    revision: str | None = None
    config: Any = None
    sizes: dict[str, int] = field(default_factory=dict)
    total_bytes: int | None = None
    listed: frozenset[str] = frozenset()
    elements: dict[str, int] = field(default_factory=dict)
    licence: str | None = None
    chat_template: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)

    def read_config(self, data: bytes | None) -> None:
        """Takes the content of config.json, None where there is none."""
        if data is None:
            self.problems.append(("it has no config.json", "give the folder or repository that holds the model itself"))
            return
        document = parse(data)
        if isinstance(document, dict) and document:
            self.config = document
        else:
            self.problems.append(("its config.json is no JSON map", "take it from the repository again"))

    def read_index(self, data: bytes) -> None:
        """Takes the content of model.safetensors.index.json."""
        document = parse(data)
        weights = document.get("weight_map") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(weights, Mapping):
            self.problems.append(("its model.safetensors.index.json is unusable", "take it from the repository again"))
            return
        metadata = document.get("metadata")
        total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
        if isinstance(total, int | float) and not isinstance(total, bool) and total > 0:
            self.total_bytes = int(total)
        self.listed = frozenset(name for name in weights.values() if isinstance(name, str))

    def read_tokenizer(self, data: bytes) -> None:
        """Takes the content of tokenizer_config.json, which may hold a chat template."""
        document = parse(data)
        self.chat_template |= isinstance(document, dict) and bool(document.get("chat_template"))

    def read_card(self, text: str) -> None:
        """Takes README.md, whose head may name the licence."""
        head = text.split("\n---", 1)[0] if text.startswith("---") else ""
        if found := re.search(r"^license:[ \t]*['\"]?([\w.+-]{1,60})", head, re.MULTILINE):
            self.licence = found.group(1)


def parse(data: bytes) -> Any:
    """The JSON in `data`, None where it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def look(folder: Path) -> Checkpoint:
    """What the folder holds; never raises for what is in it."""
    found = Checkpoint(where=str(folder))
    if match := _SNAPSHOT.search(str(folder.absolute())):
        found.repository, found.revision = f"{match.group(1)}/{match.group(2)}", match.group(3)
    try:
        found.sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        found.problems.append((f"the folder cannot be read: {error.strerror}", f"type: ls -l {folder}"))
        return found
    found.read_config(_content(folder, "config.json", found))
    if found.repository is None and isinstance(found.config, dict):
        named = found.config.get("_name_or_path")
        if isinstance(named, str) and _REPOSITORY.fullmatch(named):
            found.repository = named
    if (index := _content(folder, "model.safetensors.index.json", found)) is not None:
        found.read_index(index)
    if (tokenizer := _content(folder, "tokenizer_config.json", found)) is not None:
        found.read_tokenizer(tokenizer)
    found.chat_template |= "chat_template.jinja" in found.sizes or "chat_template.json" in found.sizes
    if (card := _content(folder, "README.md", found)) is not None:
        found.read_card(card.decode("utf-8", "backslashreplace"))
    _headers(folder, found)
    return found


def _content(folder: Path, name: str, found: Checkpoint) -> bytes | None:
    if name not in found.sizes:
        return None
    if found.sizes[name] > LARGEST_JSON:
        found.problems.append(
            (f"its {name} is larger than {LARGEST_JSON:,} bytes", "take it from the repository again")
        )
        return None
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        found.problems.append((f"its {name} cannot be read: {error.strerror}", f"type: ls -l {folder / name}"))
        return None


def _headers(folder: Path, found: Checkpoint) -> None:
    """Counts the values of each dtype; says which files are no safetensors."""
    names = [
        n
        for n in found.sizes
        if n.endswith(".safetensors") and (n in found.listed if found.listed else not n.startswith("consolidated"))
    ]
    elements: Counter[str] = Counter()
    for name in names:
        try:
            header = _header(folder / name)
        except OSError as error:
            found.problems.append((f"its {name} cannot be read: {error.strerror}", f"type: ls -l {folder / name}"))
            continue
        if header is None:
            pointer = found.sizes[name] < 1024
            said = (
                f"its {name} is a Git LFS pointer or cut off, not weights"
                if pointer
                else f"its {name} is no safetensors file"
            )
            found.problems.append((said, "download it again (in a git clone: git lfs pull)"))
            continue
        elements.update(header)
    found.elements = dict(elements)


def _header(path: Path) -> Counter[str] | None:
    """Values by dtype from the header of a safetensors file, None where it has none: eight bytes of length, then a JSON
    map of tensors.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8 or start.startswith(_POINTER[:8]):
            return None
        (length,) = struct.unpack("<Q", start)
        if not 2 <= length <= LARGEST_JSON:
            return None
        document = parse(file.read(length))
    if not isinstance(document, dict):
        return None
    counted: Counter[str] = Counter()
    for name, tensor in document.items():
        if name == "__metadata__" or not isinstance(tensor, Mapping):
            continue
        shape = tensor.get("shape")
        if isinstance(shape, list) and all(isinstance(width, int) for width in shape):
            counted[str(tensor.get("dtype"))] += prod(shape)
    return counted
