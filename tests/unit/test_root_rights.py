"""sudo's password is asked for once, and only where a person can type it."""

from __future__ import annotations

import io
import os
import subprocess
import time

import pytest

from cli import root_rights
from host import command
from stacks.errors import LabError


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A caller who is not root at a terminal; sudo lets them in when it is asked. The questions that were put."""
    questions: list[str] = []

    def ask(words: list[str], **_named: object) -> subprocess.CompletedProcess[str]:
        assert words == ["sudo", "-v"]
        questions.append("password")
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setattr(root_rights.shutil, "which", lambda _name: "/usr/bin/sudo")
    monkeypatch.setattr(root_rights.subprocess, "run", ask)
    monkeypatch.setattr(command, "can_be_root", lambda: bool(questions))
    return questions


def test_the_password_is_asked_for_once(asked: list[str]) -> None:
    with root_rights.root_rights("./lab up dev"), root_rights.root_rights("./lab up dev"):
        assert asked == ["password"]


def test_root_is_not_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with root_rights.root_rights("./lab up dev"):
        assert asked == []


def test_nobody_is_asked_where_nobody_can_type(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with root_rights.root_rights("./lab up dev"):
        assert asked == []


def test_a_refused_password_ends_it_with_exit_code_2(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_rights.subprocess, "run", lambda words, **_named: subprocess.CompletedProcess(words, 1))
    with pytest.raises(LabError, match="sudo did not let you") as raised, root_rights.root_rights("./lab up dev"):
        pytest.fail("nothing may be done")
    assert raised.value.exit_code == 2
    assert raised.value.remedy == "./lab up dev"


def test_sudo_is_kept_from_forgetting_for_as_long_as_the_work_takes(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def look() -> bool:
        looks.append(time.monotonic())
        return True

    monkeypatch.setattr(command, "can_be_root", look)
    monkeypatch.setattr(root_rights, "_FRESH", 0.01)
    with root_rights.root_rights("./lab up dev"):
        time.sleep(0.2)
    seen = len(looks)
    assert seen > 3
    time.sleep(0.05)
    assert len(looks) == seen
