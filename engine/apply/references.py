"""How resources of a state refer to each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from engine import urns
from engine.state import Resource


def of(record: Mapping[str, Any]) -> set[str]:
    """The URNs that a resource refers to."""
    provider = urns.reference_urn(record["provider"]) if record.get("provider") else ""
    inputs = {urn for sources in (record.get("propertyDependencies") or {}).values() for urn in sources or ()}
    return {record.get("parent", ""), provider, record.get("deletedWith", ""), *(record.get("dependencies") or ()), *inputs} - {""}


def rename(record: Mapping[str, Any], renamed: Callable[[str], str]) -> Mapping[str, Any]:
    """The record with its references under the names that those resources have by now."""
    if all(renamed(urn) == urn for urn in of(record)):
        return record
    new = dict(record)
    for key in ("parent", "deletedWith"):
        if new.get(key):
            new[key] = renamed(new[key])
    if new.get("provider"):
        urn = urns.reference_urn(new["provider"])
        new["provider"] = renamed(urn) + new["provider"].removeprefix(urn)
    if new.get("dependencies"):
        new["dependencies"] = [renamed(urn) for urn in new["dependencies"]]
    if new.get("propertyDependencies"):
        new["propertyDependencies"] = {key: [renamed(urn) for urn in sources or ()] for key, sources in new["propertyDependencies"].items()}
    return new


def keep(record: Resource, left: Collection[str]) -> Resource:
    """The record without dependencies on what is no longer recorded; the same object where there are none."""
    loose = of(record) - set(left) - {record.get("parent", "")}
    if not loose:
        return record
    new = dict(record)
    if new.get("deletedWith") in loose:
        del new["deletedWith"]
    if new.get("dependencies"):
        new["dependencies"] = [urn for urn in new["dependencies"] if urn not in loose]
    if new.get("propertyDependencies"):
        new["propertyDependencies"] = {
            key: [urn for urn in sources or () if urn not in loose] for key, sources in new["propertyDependencies"].items()
        }
    return new


def closure(records: Collection[Resource]) -> dict[str, set[str]]:
    """For each URN everything that it stands on, directly or through others."""
    direct: dict[str, set[str]] = {}
    for record in records:
        direct.setdefault(record["urn"], set()).update(of(record))
    full: dict[str, set[str]] = {}

    def visit(urn: str) -> set[str]:
        if urn not in full:
            full[urn] = set()  # a state has no cycles; a damaged one must not hang us
            found = set(direct.get(urn, ()))
            for other in list(found):
                found |= visit(other)
            full[urn] = found - {urn}
        return full[urn]

    for urn in direct:
        visit(urn)
    return full
