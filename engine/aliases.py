"""Finding a registered resource in the recorded state under the names that it had before."""

from __future__ import annotations

from collections.abc import Iterator

from engine import urns
from engine.errors import EngineError
from engine.goals import Goal
from engine.state import Resource, State


class Aliases:
    """The aliases in use in one run; a child follows its parent's."""

    def __init__(self, project: str, stack: str, state: State) -> None:
        self._project, self._stack, self._state = project, stack, state
        self._old_of: dict[str, str] = {}
        self._new_of: dict[str, str] = {}

    def now(self, old_urn: str) -> str:
        """The URN that a recorded resource has in this run."""
        return self._new_of.get(old_urn, old_urn)

    def find(self, urn: str, goal: Goal) -> tuple[Resource | None, str]:
        """The recorded resource for a registration, and the alias that found it.

        Raises EngineError when two resources claim the same recorded one.
        """
        if urn in self._new_of:
            raise EngineError(f"Duplicate resource URN '{urn}' conflicting with alias on resource with URN '{self._new_of[urn]}'")
        for candidate in [urn, *self._candidates(goal)]:
            old = self._state.resources.get(candidate)
            if old is None:
                continue
            if candidate == urn:
                return old, ""
            if candidate in self._new_of:
                raise EngineError(f"Duplicate resource alias '{candidate}' applied to '{urn}' and to '{self._new_of[candidate]}'")
            self._new_of[candidate], self._old_of[urn] = urn, candidate
            return old, candidate
        return None, ""

    def _candidates(self, goal: Goal) -> Iterator[str]:
        own = [self._collapse(goal, alias) for alias in goal.aliases]
        yield from own
        parent = self._old_of.get(goal.parent)
        if parent:
            for resource_type, name in [(goal.type, goal.name), *((urns.qualified_type(u).split("$")[-1], urns.name_of(u)) for u in own)]:
                # By convention a child's name starts with its parent's.
                prefix = urns.name_of(goal.parent)
                old_name = urns.name_of(parent) + name.removeprefix(prefix) if name.startswith(prefix) else name
                yield urns.make(self._stack, self._project, parent, resource_type, old_name)

    def _collapse(self, goal: Goal, alias: object) -> str:
        urn = str(getattr(alias, "urn", ""))
        if urn:
            return urn
        spec = getattr(alias, "spec")  # noqa: B009 (a generated protobuf class without attributes for the type checker)
        parent = "" if spec.noParent else self._old_of.get(spec.parentUrn, spec.parentUrn) or goal.parent
        return urns.make(spec.stack or self._stack, spec.project or self._project, parent, spec.type or goal.type, spec.name or goal.name)
