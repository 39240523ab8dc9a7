"""Why nothing is done, and what to type: several at once, as one error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stacks.errors import HostError


class Refusal(NamedTuple):
    """One reason and its remedy."""

    reason: str
    remedy: str


def refused(context: str, refusals: Sequence[Refusal]) -> HostError:
    """The error that lists all of them; a single one is said plainly."""
    if len(refusals) == 1:
        return HostError(f"{refusals[0].reason}: nothing was changed", remedy=refusals[0].remedy)
    lines = "\n".join(f"  {r.reason}\n    -> {r.remedy}" for r in refusals)
    return HostError(f"the cluster of context {context} cannot take the stack, and nothing was changed:\n{lines}")
