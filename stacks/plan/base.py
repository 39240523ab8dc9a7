"""What every slice of a plan is made of."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Part(BaseModel):
    """The base of every part of a plan."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Decision(Part):
    """One value and why it is what it is.

    `kind`: stated (the stack file says so), derived (computed), measured (an earlier start printed it), default (ours
    or
    upstream's), degraded (a safe default that does not work here).
    """

    name: str
    value: str
    kind: Literal["stated", "derived", "measured", "default", "degraded"]
    source: str
    reason: str


class HostChange(Part):
    """Something outside the cluster that `up` would do to the machine, in the words of a consent prompt."""

    kind: Literal["package", "service", "file", "folder", "network", "cluster", "build", "download"]
    what: str
    command: str | None = None
    root: bool = Field(description="whether it needs root")
    note: str | None = None


def canonical(part: Part) -> str:
    """A slice of the plan as a host module's specification: sorted, without blanks, equal for equal content."""
    return json.dumps(part.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
