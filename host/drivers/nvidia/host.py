"""The machine during one run: where its files are, what the plan wants, and what was changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host.system import files
from probes.nvidia import HostProbe, Layer, Machine
from stacks.errors import HostError
from stacks.plan import NvidiaHostPlan, NvidiaStep


@dataclass(frozen=True)
class Record:
    """What the lab made on this machine, for every user to read: `steps` that were ever done, `files` that did not
    exist before, and steps that are `pending`, so that a run after a killed one finishes them.
    """

    path: Path

    def read(self) -> dict[str, Any]:
        """The record; empty lists where there is none. Raises HostError where it cannot be read."""
        empty: dict[str, Any] = {"steps": [], "files": [], "pending": []}
        if not self.path.exists():
            return empty
        try:
            return {**empty, **json.loads(self.path.read_text(encoding="utf-8"))}
        except (OSError, ValueError) as error:
            raise HostError(
                f"{self.path} cannot be read: {error}", remedy=f"if it is damaged: sudo rm {self.path}"
            ) from None

    def pending(self, what: str) -> bool:
        """Whether a killed run left that undone."""
        return what in self.read()["pending"]

    def begin(self, what: str) -> None:
        """Notes that it is begun, before anything of it is changed."""
        found = self.read()
        self._write({**found, "pending": sorted({*found["pending"], what})})

    def done(self, what: str) -> None:
        """Notes that it is whole."""
        found = self.read()
        if what in found["pending"]:
            self._write({**found, "pending": [other for other in found["pending"] if other != what]})

    def made(self, step: NvidiaStep, *paths: str) -> None:
        """Notes files that the step is about to make, before they are there."""
        found = self.read()
        steps, made = {*found["steps"], step}, {*found["files"], *paths}
        self._write({**found, "steps": sorted(steps), "files": sorted(made)})

    def _write(self, document: dict[str, Any]) -> None:
        replace(self.path, (json.dumps(document, indent=1) + "\n").encode())


@dataclass
class Host:
    """One run on one machine; `root` stands for /."""

    stack: str
    wanted: NvidiaHostPlan
    machine: Machine
    root: Path
    changed: list[str] = field(default_factory=list)

    @property
    def record(self) -> Record:
        """What the lab made here."""
        return Record(self.at("/var/lib/local-ai-lab/nvidia.json"))

    def at(self, path: str) -> Path:
        """Where an absolute path of the machine is."""
        return self.root / path.lstrip("/")

    def probe(self) -> HostProbe:
        """A fresh look: what was seen before may have changed."""
        return HostProbe(self.machine, self.wanted, self.stack)

    def write(self, path: str, content: str | bytes, step: NvidiaStep) -> None:
        """Writes a file of our own in one step, unless it is so already; it is recorded as ours before. Raises
        HostError where another one is in its place.
        """
        target, data = self.at(path), content if isinstance(content, bytes) else content.encode()
        if target.exists():
            if target.read_bytes() == data:
                return
            if path not in self.record.read()["files"]:
                raise HostError(
                    f"{path} is there, was not made by the lab, and says something else: it was not changed",
                    remedy=f"look at it and move it away, then: ./lab up {self.stack}",
                )
        self.record.made(step, path)
        replace(target, data)
        self.changed.append(path)

    def edit(self, path: str, text: str, step: NvidiaStep) -> None:
        """Writes a file that belongs to the machine's owner, in one step and with the mode that it has."""
        target = self.at(path)
        self.record.made(step, *([] if target.exists() else [path]))
        replace(target, text.encode(), target.stat().st_mode & 0o777 if target.exists() else 0o644)
        self.changed.append(path)


def replace(target: Path, data: bytes, mode: int = 0o644) -> None:
    """Writes a file in one step, after what a killed run left beside it; runs come here one at a time."""
    for left in target.parent.glob(f".{target.name}.[0-9]*"):
        left.unlink()
    files.write_atomic_bytes(target, data, mode)


def refused(layer: Layer, before: str = "") -> HostError:
    """The layer's own words as an error."""
    return HostError(f"{before}{layer.cause} ({layer.evidence})", remedy=layer.fix)
