"""Every error that a user of the lab can meet: a sentence that says what is wrong, and a remedy that says what to
type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LONGEST_SHOWN = 60
_MOST_PROBLEMS = 40


def shown(text: str) -> str:
    """`text` as a message may hold it: short, on one line, without control characters or anything that a terminal
    obeys.
    """
    plain = text if text.isprintable() and text == text.strip() and text else repr(text)
    return plain if len(plain) <= _LONGEST_SHOWN else f"{plain[: _LONGEST_SHOWN - 3]}..."


class LabError(Exception):
    """The root of all errors that leave the lab as a message and never as a traceback.

    `remedy` is what the user can type or edit next; `exit_code` is what `lab` exits with, by itself that of the class.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong in a stack file: where (`file`, `path` inside it), what, and what to type instead."""

    file: str
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.path}" if self.path else self.file
        return f"{where}\n    {self.message}\n    -> {self.remedy}"


class SettingsError(LabError):
    """A stack file cannot be used; carries every problem found, not the first one only."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(set(problems), key=_reading_order))
        count = len(self.problems)
        more = [f"  and {count - _MOST_PROBLEMS} more"] if count > _MOST_PROBLEMS else []
        text = "\n".join([*(f"  {p}" for p in self.problems[:_MOST_PROBLEMS]), *more])
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the stack settings:\n\n{text}")


def _reading_order(problem: Problem) -> tuple[object, ...]:
    """Numbers in a path count as numbers: line 9 comes before line 10."""
    path = tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]{1,9})", problem.path)
    )
    return problem.file, path, problem.message, problem.remedy


class CatalogError(LabError):
    """The catalogue holds no such entry, or an entry contradicts its own schema; lists the valid names."""

    exit_code = 2


@dataclass(frozen=True)
class Edit:
    """One line of a stack file to change: its path, such as `models[0].contextTokens`, and the new value; None takes
    the line out.
    """

    path: str
    value: str | int | float | bool | None


@dataclass(frozen=True)
class Alternative:
    """Settings near the given ones that were planned and found to work: in words, and as edits that a program can
    make.
    """

    text: str
    edits: tuple[Edit, ...]

    def __str__(self) -> str:
        return self.text


class PlanError(LabError):
    """The given settings cannot work on this machine; carries the arithmetic and the nearest settings that do.

    `refusals` holds one sentence each. `proposals` are edits of the stack file that were planned and found to work, and
    `alternatives` the same in words.
    """

    exit_code = 2

    def __init__(self, refusals: Sequence[str], *, stack: str, alternatives: Sequence[Alternative] = ()) -> None:
        self.refusals = tuple(refusals)
        self.proposals = tuple(alternatives)
        self.alternatives = tuple(a.text for a in self.proposals)
        options = "\n".join(f"       {n}. {a}" for n, a in enumerate(self.alternatives, 1))
        super().__init__(
            f"The plan of Pulumi.{stack}.yaml does not fit this machine:\n\n"
            + "\n\n".join(f"  {r}" for r in self.refusals),
            remedy=f"settings that do fit (each one planned):\n{options}"
            if options
            else f"no single edit of Pulumi.{stack}.yaml helps; lower contextTokens "
            "or concurrentRequests, or use a larger machine",
        )


class ProposalError(LabError):
    """No stack file can be proposed for this machine."""

    exit_code = 2


class HostError(LabError):
    """A step on the machine itself failed or is not possible there."""


class CheckFailed(LabError):
    """An observation (a probe) found something broken; names the first broken hop."""
