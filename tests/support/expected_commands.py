"""A strict stand-in for the one subprocess wrapper: the calls that are expected, in order, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from host.system import command


@dataclass
class Call:
    """One expected call: words that its command line holds in this order, what it does, and how it ends."""

    words: Sequence[str]
    effect: Callable[[list[str], dict[str, Any]], None] = lambda _words, _named: None
    output: str = ""
    code: int = 0
    root: bool | None = None


@dataclass
class Expected:
    """Takes the place of host.system.command.run; `done` fails where a call is missing."""

    calls: list[Call]
    made: list[list[str]] = field(default_factory=list)

    def __call__(self, arguments: Sequence[Any], **named: Any) -> subprocess.CompletedProcess[str]:
        words = [str(a) for a in arguments]
        assert named["timeout"] > 0
        assert self.calls, f"unexpected: {words}"
        call = self.calls.pop(0)
        rest = iter(words)
        assert all(any(wanted in word for word in rest) for wanted in call.words), f"expected {call.words}, got {words}"
        assert call.root is None or named.get("root", False) is call.root, f"root: {words}"
        self.made.append(words)
        call.effect(words, named)
        if call.code:
            raise command.CommandFailed(words, call.code, call.output)
        return subprocess.CompletedProcess(words, 0, call.output, "")

    def done(self) -> None:
        assert not self.calls, f"never called: {self.calls}"


def expect(monkeypatch: pytest.MonkeyPatch, *calls: Call) -> Expected:
    """From now on exactly `calls` happen."""
    expected = Expected(list(calls))
    monkeypatch.setattr(command, "run", expected)
    return expected
