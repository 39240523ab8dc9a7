"""One sentence that says why a model does not serve: pattern, meaning, what to do, source."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Signature:
    """`{name}` in `what` and `remedy` stands for a named group of the pattern, `{stack}`, `{namespace}`, `{pod}` and
    `{container}` for what they say. Where several match, the first of a table counts.
    """

    ident: str
    pattern: re.Pattern[str]
    what: str
    remedy: str
    source: str


def signature(ident: str, pattern: str, what: str, remedy: str, source: str) -> Signature:
    """The entry, with its pattern compiled."""
    return Signature(ident, re.compile(pattern), what, remedy, source)
