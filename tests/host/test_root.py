"""Root through sudo: a strict stand-in for sudo, since a real password needs a real user and a terminal."""

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
from stacks.errors import HostError
from tests.conftest import ROOT

# sudo 1.9's words, its exit code 1 and what it does to a command: another session, so that no signal of the caller's
# group gets there.
_SUDO = """#!/bin/sh
[ "$1" = -v ] && { echo asked >> {folder}/asked; [ -e {folder}/refuses ] && exit 1; touch {folder}/ticket; exit 0; }
[ "$1" = -n ] || { echo "sudo: unexpected $1" >&2; exit 1; }
[ -e {folder}/ticket ] || { echo "sudo: a password is required" >&2; exit 1; }
shift
exec setsid --wait "$@"
"""


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A caller who is not root, and a sudo that wants a password first: the folder with its notes."""
    program = tmp_path / "bin" / "sudo"
    program.parent.mkdir()
    program.write_text(_SUDO.replace("{folder}", str(tmp_path)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path


def test_without_a_password_there_is_no_root_and_the_error_says_what_to_type(sudo: Path) -> None:
    assert not command.can_be_root()
    with pytest.raises(HostError, match="nobody can type") as raised:
        command.become_root(["true"])
    assert "sudo -v" in raised.value.remedy


def test_without_sudo_there_is_no_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not command.can_be_root()


def test_a_command_as_root_gets_its_input_and_gives_its_output_and_its_code(sudo: Path) -> None:
    (sudo / "ticket").touch()
    done = command.run(["sh", "-c", "cat; echo bad >&2; exit 7"], timeout=20, text="given", root=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("given", "bad\n", 7)
    with pytest.raises(CommandFailed, match="no-such-program: No such file"):
        command.run(["no-such-program"], timeout=20, root=True)


def test_a_command_that_sudo_refuses_says_what_to_type_and_shows_the_command_as_it_was_meant(sudo: Path) -> None:
    with pytest.raises(CommandFailed, match=r"^`rm -rf caches` ended with 1") as raised:
        command.run(["rm", "-rf", "caches"], timeout=20, root=True)
    assert raised.value.remedy == command.GET_ROOT


def test_a_program_that_finds_the_disk_full_has_that_as_its_remedy() -> None:
    with pytest.raises(CommandFailed) as raised:
        command.run(["sh", "-c", "cat /etc/passwd > /dev/full"], timeout=20)
    assert raised.value.remedy.startswith("the disk is full: free some GiB")


def test_a_program_that_itself_ends_with_124_did_not_take_too_long(sudo: Path) -> None:
    (sudo / "ticket").touch()
    assert command.run(["sh", "-c", "exit 124"], timeout=20, root=True, check=False).returncode == 124


_SLOW_CHILD = """
import os, pathlib, runpy, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
script, *rest = sys.argv[1:]
fork = os.fork
def slow():
    child = fork()
    time.sleep(0 if child else 0.5)
    return child
os.fork, sys.argv = slow, [script, str(os.getppid()), *rest]
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.long
def test_a_stop_before_the_program_has_its_group_ends_it_all_the_same(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-c",
        _SLOW_CHILD,
        str(ROOT / "host" / "system" / "process_guard.py"),
        "0",
        "10",
        "sh",
        "-c",
        f"sleep 1; touch {tmp_path}/went-on",
    ]
    done = subprocess.run(words, timeout=30, check=False)
    time.sleep(2)
    assert done.returncode == 128 + signal.SIGTERM
    assert not (tmp_path / "went-on").exists()


def test_a_command_as_root_that_takes_too_long_is_ended_with_its_children(sudo: Path) -> None:
    (sudo / "ticket").touch()
    with pytest.raises(CommandFailed, match="took too long"):
        command.run(["sh", "-c", f"sleep 4712 & echo $! > {sudo}/pid; wait"], timeout=1, root=True)
    assert _gone(int((sudo / "pid").read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_runs_as_root_ends_with_its_caller_however_that_ends(sudo: Path, number: signal.Signals) -> None:
    (sudo / "ticket").touch()
    program = (
        "import os, sys\nos.geteuid = lambda: 1000\nfrom host.system import command\n"
        f"command.become_root(['sh', '-c', 'sleep 4713 & echo $! > {sudo}/pid.new; mv {sudo}/pid.new {sudo}/pid; "
        f"wait'])\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    _wait((sudo / "pid").exists)
    caller.send_signal(number)
    caller.wait()
    _wait(lambda: _gone(int((sudo / "pid").read_text())))


def test_becoming_root_ends_with_the_code_of_what_was_run(sudo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (sudo / "ticket").touch()
    with pytest.raises(SystemExit) as raised:
        command.become_root(["sh", "-c", "echo done; exit 5"])
    assert raised.value.code == 5
    assert capfd.readouterr().out == "done\n"


def _gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _wait(condition: object) -> None:
    end = time.monotonic() + 15
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen within fifteen seconds"
        time.sleep(0.05)
