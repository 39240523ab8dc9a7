"""sudo's password is asked for once, and only where a person can type it."""

from __future__ import annotations

import io
import os
import subprocess
import time

import pytest

from cli import root_rights
from host.system import command
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
        assert os.geteuid() != 0
        questions.append("password")
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setattr(root_rights.shutil, "which", lambda _name: "/usr/bin/sudo")
    monkeypatch.setattr(root_rights.command, "interactive", ask)
    monkeypatch.setattr(command, "can_be_root", lambda: os.geteuid() == 0 or bool(questions))
    return questions


def test_the_password_is_asked_for_once(asked: list[str]) -> None:
    with root_rights.root_rights(needed=True), root_rights.root_rights(needed=True):
        assert asked == ["password"]


def test_root_is_not_asked(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with root_rights.root_rights(needed=True):
        assert asked == []


def test_where_nobody_can_type_what_needs_no_root_still_works(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with root_rights.root_rights(needed=False):
        assert asked == []


def test_where_nobody_can_type_a_removal_ends_before_anything_is_removed(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(LabError, match="nobody can type") as raised, root_rights.root_rights(needed=True):
        pytest.fail("nothing may be done")
    assert (raised.value.exit_code, raised.value.remedy, asked) == (2, command.GET_ROOT, [])


@pytest.mark.parametrize(
    "answer", [subprocess.CompletedProcess(["sudo"], 1), subprocess.CompletedProcess(["sudo"], 0), KeyboardInterrupt()]
)
def test_an_answer_that_makes_no_root_ends_it_with_exit_code_2(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, answer: subprocess.CompletedProcess[str] | BaseException
) -> None:
    def ask(_words: list[str], **_named: object) -> subprocess.CompletedProcess[str]:
        if isinstance(answer, BaseException):
            raise answer
        return answer  # 0 too: a sudo that is told to remember nothing

    monkeypatch.setattr(root_rights.command, "interactive", ask)
    with pytest.raises(LabError, match="nothing was changed") as raised, root_rights.root_rights(needed=False):
        pytest.fail("nothing may be done")
    assert raised.value.exit_code == 2


def test_sudo_is_kept_from_forgetting_for_as_long_as_the_work_takes(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def look() -> bool:
        looks.append(time.monotonic())
        return True

    monkeypatch.setattr(command, "can_be_root", look)
    monkeypatch.setattr(root_rights, "_FRESH", 0.01)
    with root_rights.root_rights(needed=True):
        time.sleep(0.2)
    seen = len(looks)
    assert seen > 3
    time.sleep(0.05)
    assert len(looks) == seen
