"""The closed list of kinds that the embedded engine applies, and how a resource of the state becomes a task for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine import kinds, urns
from engine.apply.commands import Commands
from engine.apply.events import Talk
from engine.apply.handler import Handler, Task
from engine.apply.kubernetes import Clusters, Objects
from engine.apply.process import Surroundings
from engine.errors import UnsupportedError
from engine.state import Resource
from engine.wire import Secret, Value, plain


class Handlers:
    """What a run works with; close it at the end."""

    def __init__(self, around: Surroundings) -> None:
        self.clusters = Clusters(around.interrupt, around.folder)
        self._commands = Commands(around)
        self._objects = Objects(self.clusters, around.interrupt)

    def of(self, resource_type: str) -> Handler:
        """The handler of a type. Raises UnsupportedError for what only the CLI applies."""
        if kinds.find(resource_type).applied_by_cli_only:
            raise UnsupportedError(f"applying {resource_type}")
        return self._commands if resource_type == "command:local:Command" else self._objects

    def close(self) -> None:
        """Closes all connections."""
        self.clusters.close()


def is_object(resource_type: str) -> bool:
    """Whether a cluster holds resources of this type."""
    return resource_type.startswith("kubernetes:")


def task_of(record: Resource, provider: Resource | None, talk: Talk, operation: str, hint: Mapping[str, Any] | None = None) -> Task:
    """The task for a record; a provider that is not recorded leaves its kind without options."""
    timeout = (record.get("customTimeouts") or {}).get(operation, 0)
    talk.voice.learn(secret_texts([record.get("inputs"), record.get("outputs")]))
    return Task(
        record["urn"], record["type"], urns.name_of(record["urn"]), record.get("inputs") or {}, (provider or {}).get("inputs") or {}, talk,
        float(timeout), hint or {},
    )  # fmt: skip


def secret_texts(value: Value) -> Iterator[str]:
    """Every text inside a secret."""
    if isinstance(value, Secret):
        yield from _texts(plain(value))
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from secret_texts(item)


def _texts(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
