"""A proposal as the text of a stack file, a comment beside each value."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from stacks.planning.proposals.propose import Proposal
from stacks.settings import PROJECT

_PLAIN = re.compile(r"[A-Za-z~/][A-Za-z0-9._~/-]*")
_WIDTH = 118


def stack_file(proposal: Proposal, *, machine: str) -> str:
    """The whole file; `machine` says in words for which machine it was made."""
    head = f"Written by `lab init` for {machine}. Yours to edit: `./lab plan {proposal.stack}` checks it."
    lines = [
        "# yaml-language-server: $schema=./stack.schema.json",
        *(f"# {line}" for line in textwrap.wrap(head, _WIDTH - 2)),
        *(f"# Before `up`: {line}" for line in proposal.before_up),
        "config:",
        "  pulumi:disable-default-providers: [kubernetes]",
    ]
    for key, value in proposal.config.items():
        lines.append(f"  {PROJECT}:{key}:")
        lines += _lines(value, key, 4, proposal)
    return "\n".join(lines) + "\n"


def _lines(value: Any, path: str, indent: int, proposal: Proposal) -> Iterator[str]:
    if isinstance(value, list):
        for number, entry in enumerate(value):
            lines = list(_lines(entry, f"{path}[{number}]", indent + 2, proposal))
            begin = next(n for n, line in enumerate(lines) if not line.lstrip().startswith("#"))
            yield from lines[:begin]
            yield f"{' ' * indent}- {lines[begin].lstrip()}"
            yield from lines[begin + 1 :]
        return
    for key, inner in value.items():
        comment = proposal.comments.get(f"{path}.{key}", "")
        line = f"{' ' * indent}{key}: {_scalar(inner)}"
        if comment and len(line) + len(comment) + 3 > _WIDTH:
            yield from (f"{' ' * indent}# {part}" for part in textwrap.wrap(comment, _WIDTH - indent - 2))
            comment = ""
        yield f"{line} # {comment}" if comment else line


def _scalar(value: object) -> str:
    """A value as YAML of every version reads it alike."""
    text = json.dumps(value)
    return str(value) if isinstance(value, str) and _PLAIN.fullmatch(value) and value not in _WORDS else text


_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n", "~"})
