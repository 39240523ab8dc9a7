"""A streamed program: its lines as they come, and an end that leaves nothing behind. Real processes, as the Pulumi CLI
starts them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.system import command
from host.system.command import CommandFailed
from tests.conftest import ROOT

# The CLI puts plugins into process groups of their own; a cluster's daemons get a session of their own.
_LEAVES_BEHIND = """
import os, subprocess, sys, time
plugin = subprocess.Popen(["sleep", "300"], process_group=0)
daemon = subprocess.Popen(["sleep", "300"], start_new_session=True, stdout=subprocess.DEVNULL)
print(plugin.pid, daemon.pid, flush=True)
time.sleep(float(sys.argv[1]))
"""
_CALLER = """
import sys
from pathlib import Path
from host.system import command
command.stream([sys.executable, "-c", sys.argv[1], "300"], cwd=Path("."), environment={},
               on_line=lambda line: print(line, end="", flush=True), grace=5)
"""


def _stream(*words: str, **options: object) -> tuple[command.Streamed, list[str]]:
    lines: list[str] = []
    given = {"GIVEN": "this"}
    ended = command.stream(words, cwd=ROOT, environment=given, on_line=lines.append, **options)  # type: ignore[arg-type]
    return ended, lines


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _gone(process: int) -> bool:
    end = time.monotonic() + 30
    while _lives(process) and time.monotonic() < end:
        time.sleep(0.1)
    return not _lives(process)


def test_lines_come_one_by_one_with_the_given_environment_and_the_exit_code() -> None:
    ended, lines = _stream("sh", "-c", "echo one; echo $GIVEN; echo bad >&2; exit 3")
    assert (lines, ended.code, ended.errors, ended.interrupted) == (["one\n", "this\n"], 3, "bad\n", False)


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CommandFailed, match="no-such-program"):
        _stream("no-such-program")


def test_what_the_program_left_in_its_session_ends_and_a_daemon_stays() -> None:
    _, lines = _stream(sys.executable, "-c", _LEAVES_BEHIND, "0")
    plugin, daemon = map(int, lines[0].split())
    assert not _lives(plugin)
    assert _lives(daemon)
    os.kill(daemon, signal.SIGKILL)


def test_a_failing_reader_ends_the_program() -> None:
    seen: list[int] = []

    def fails(line: str) -> None:
        seen.append(int(line.split(maxsplit=1)[0]))
        raise ValueError("cannot be read")

    with pytest.raises(ValueError, match="cannot be read"):
        command.stream([sys.executable, "-c", _LEAVES_BEHIND, "300"], cwd=ROOT, environment={}, on_line=fails, grace=5)
    assert _gone(seen[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_whatever_ends_the_caller_ends_the_program_and_its_plugins(number: int) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", _CALLER, _LEAVES_BEHIND], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert caller.stdout
    plugin, daemon = map(int, caller.stdout.readline().split())
    os.kill(caller.pid, number)
    caller.wait(timeout=60)
    assert _gone(plugin)
    assert _lives(daemon)
    os.kill(daemon, signal.SIGKILL)
