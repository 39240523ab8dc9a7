"""The state file while a run works: after every step it says what is there and what was begun."""

from __future__ import annotations

import datetime
import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine import urns
from engine.aliases import Aliases
from engine.apply import references
from engine.errors import EngineError
from engine.passphrase import SecretsManager
from engine.state import VERSION, Pending, Resource, State
from engine.wire import reuse, seal

_PRIVATE: Final = 0o600
_WORKING: Final = ("delete", "pendingReplacement")


def now() -> str:
    """The time as the CLI writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


def write_private(path: Path, document: Mapping[str, Any]) -> None:
    """Replaces the file in one step: a reader, and a run after a kill, sees the old document or the new one.

    Raises EngineError where it cannot be written; the old one stays then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        remedy = "make room there; then run the same command again: it takes up what was begun"
        raise EngineError(f"the state {path} cannot be written: {error.strerror}", remedy=remedy) from error


@dataclass(frozen=True)
class _Entry:
    """A resource and its form in the file."""

    record: Resource
    sealed: Mapping[str, Any]


class Ledger:
    """What is there: resources of this run in the order in which they were done, then those of earlier runs in theirs."""

    def __init__(self, path: Path, state: State, secrets: SecretsManager, aliases: Aliases | None = None) -> None:
        self._path, self._secrets, self._aliases = path, secrets, aliases
        self._lock = threading.RLock()
        self._news: dict[str, _Entry] = {}
        self._olds = [self._entry(record) for record in state.records]
        self._pending = {str(item.resource["urn"]): item for item in state.pending}
        self._dirty = False
        for leftover in path.parent.glob(f".{path.name}.*"):  # of a killed run; the lock is ours
            leftover.unlink()

    def records(self) -> list[Resource]:
        """Everything that is recorded, in the file's order."""
        with self._lock:
            return [entry.record for entry in (*self._news.values(), *self._olds)]

    def pending(self) -> list[Pending]:
        """The operations that were begun and not ended."""
        with self._lock:
            return list(self._pending.values())

    def has(self, urn: str) -> bool:
        """Whether this run has done the resource."""
        with self._lock:
            return urn in self._news

    def find(self, urn: str, identity: str = "") -> Resource | None:
        """The recorded resource of this URN, of this id where one is given; this run's first."""
        found = [item for item in self.records() if item["urn"] == urn]
        return next((item for item in found if not identity or item.get("id") == identity), None)

    def begin(self, operation: str, record: Resource) -> None:
        """Notes that an operation begins."""
        with self._lock:
            self._pending[record["urn"]] = Pending(operation, record)
            self._write()

    def cancel(self, urn: str) -> None:
        """Notes that an operation failed without changing anything that the state speaks of."""
        with self._lock:
            if self._pending.pop(urn, None):
                self._write()

    def done(self, record: Resource, old: Resource | None, *, keep_old: bool = False) -> None:
        """Notes a resource as done; `keep_old` where the replaced one has still to be deleted."""
        with self._lock:
            if old is not None:
                record = {**record, **{key: reuse(record[key], old.get(key)) for key in ("inputs", "outputs") if key in record}}
            ended = self._pending.pop(record["urn"], None)
            changed = bool(ended) or record != old
            self._news[record["urn"]] = self._entry(record)
            if old is not None:
                self._replace_old(old, {**old, "delete": True} if keep_old else None)
            self._dirty = self._dirty or changed
            if changed:
                self._write()

    def deleted_first(self, old: Resource) -> None:
        """Notes that a resource was deleted ahead of its replacement."""
        with self._lock:
            self._pending.pop(old["urn"], None)
            self._replace_old(old, {**old, "pendingReplacement": True})
            self._write()

    def forget(self, old: Resource) -> None:
        """Drops a resource that turned out to be gone from the world, but keeps what depends on it."""
        with self._lock:
            self._replace_old(old, None)
            self._write()

    def remove(self, gone: Iterable[Resource], idle: Iterable[Resource]) -> list[Resource]:
        """Drops what was deleted, and of the `idle` records those that nothing refers to any more; gives what was dropped."""
        with self._lock:
            dropped = list(gone)
            for record in dropped:
                self._replace_old(record, None)
                self._pending.pop(record["urn"], None)
            idle = [record for record in idle if any(entry.record is record for entry in self._olds)]
            while free := [record for record in idle if not self._is_needed(record, dropped)]:
                for record in free:
                    self._replace_old(record, None)
                idle = [record for record in idle if not any(record is item for item in free)]
                dropped += free
            left = {entry.record["urn"] for entry in (*self._news.values(), *self._olds)}
            self._olds = [self._entry(references.keep(entry.record, left), entry) for entry in self._olds]
            if dropped:
                self._write()
            return dropped

    def set_outputs(self, urn: str, outputs: Mapping[str, Any]) -> None:
        """Notes the outputs that a component, or the stack, tells at its end."""
        with self._lock:
            entry = self._news.get(urn)
            if entry is None or (entry.record.get("outputs") or {}) == outputs:
                return
            self._news[urn] = self._entry({**entry.record, "outputs": reuse(dict(outputs), entry.record.get("outputs"))})
            self._write()

    def flush(self) -> None:
        """Writes the file if there is none yet."""
        with self._lock:
            if not self._path.exists():
                self._write()

    def _is_needed(self, record: Resource, dropped: list[Resource]) -> bool:
        """Whether a live resource stands in the record: as its child, or as one of a provider."""
        others = [entry.record for entry in (*self._news.values(), *self._olds) if entry.record is not record]
        others = [item for item in others if not any(item is gone for gone in dropped)]
        reference = f"{record['urn']}::{record.get('id', '')}"
        return any(item.get("parent") == record["urn"] or item.get("provider") == reference for item in others)

    def _replace_old(self, old: Resource, new: Resource | None) -> None:
        changed = []
        for entry in self._olds:
            if entry.record is old or (entry.record["urn"] == old["urn"] and entry.record.get("id") == old.get("id")):
                if new is not None:
                    changed.append(self._entry(new))
            else:
                changed.append(entry)
        self._olds = changed

    def _entry(self, record: Resource, same: _Entry | None = None) -> _Entry:
        if same is not None and same.record is record:
            return same
        return _Entry(record, seal(record, self._secrets.encrypt))

    def _write(self) -> None:
        renamed = self._aliases.now if self._aliases else str
        resources = [*(entry.sealed for entry in self._news.values()), *(references.rename(entry.sealed, renamed) for entry in self._olds)]
        pending = [{"resource": seal(item.resource, self._secrets.encrypt), "type": item.operation} for item in self._pending.values()]
        deployment = {
            "manifest": {"time": now(), "magic": "", "version": ""},
            "secrets_providers": {"type": "passphrase", "state": {"salt": self._secrets.salt}},
            "resources": resources,
            **({"pending_operations": pending} if pending else {}),
            "metadata": {},
        }
        write_private(self._path, {"version": VERSION, "deployment": deployment})


def is_record(resource: Resource) -> bool:
    """Whether nothing outside the state has to be deleted for it: components, providers, and what is to be retained."""
    return not resource["custom"] or urns.is_provider(resource["type"]) or bool(resource.get("retainOnDelete"))
