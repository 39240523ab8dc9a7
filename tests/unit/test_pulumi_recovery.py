"""What a killed run of the CLI leaves behind is put right, and what lives is left alone. The faults are real processes
and files.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cli.pulumi import backend, recovery
from cli.pulumi.workspace import Workspace
from host.artifacts.pulumi import Pulumi
from tests.support.stacks import ROOT

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of a test; whatever is left of them is ended."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(Path(SLEEP).resolve(), path)
    return path


def _locks() -> Path:
    place = backend.local_backend(ROOT)
    assert place
    folder = place / ".pulumi/locks/organization/local-ai-lab/dev"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lock(name: str, pid: int, host: str | None = None) -> None:
    (_locks() / f"{name}.json").write_text(
        json.dumps({"pid": pid, "username": "u", "hostname": host or socket.gethostname()})
    )


def _dead() -> int:
    process = subprocess.Popen([SLEEP, "0"])
    process.wait()
    return process.pid


def test_a_lock_of_a_dead_process_of_this_machine_is_dead() -> None:
    dead = _dead()
    _lock("a", dead)
    assert recovery.dead_locks(ROOT, "dev") == [dead]


def test_a_lock_of_another_machine_is_left_alone() -> None:
    _lock("a", _dead(), host="elsewhere")
    assert recovery.dead_locks(ROOT, "dev") == []


def test_one_living_lock_keeps_all_of_them(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    started.append(subprocess.Popen([_program(tmp_path / "pulumi"), "60"]))
    _lock("a", _dead())
    _lock("b", started[0].pid)
    assert recovery.dead_locks(ROOT, "dev") == []


def test_another_program_with_the_number_of_a_dead_run_does_not_keep_the_lock(
    started: list[subprocess.Popen[bytes]],
) -> None:
    started.append(subprocess.Popen([SLEEP, "60"]))
    _lock("a", started[0].pid)
    assert recovery.dead_locks(ROOT, "dev") == [started[0].pid]


def test_a_lock_that_cannot_be_read_is_left_alone() -> None:
    (_locks() / "a.json").write_text("{")
    assert recovery.dead_locks(ROOT, "dev") == []


def test_a_remote_backend_has_no_locks_that_could_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert backend.local_backend(ROOT) is None
    assert recovery.dead_locks(ROOT, "dev") == []


def _attributes(name: str, text: str) -> Path:
    place = backend.local_backend(ROOT)
    assert place
    path = place / ".pulumi" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_half_written_side_files_of_the_stack_go_and_whole_ones_and_other_stacks_stay() -> None:
    broken = [
        _attributes(name, text)
        for name, text in (
            ("meta.yaml.attrs", ""),
            ("stacks/local-ai-lab/dev.json.attrs", ""),
            ("stacks/local-ai-lab/dev.json.bak.attrs", '{"user.content'),
            ("locks/organization/local-ai-lab/dev/a.json.attrs", ""),
            ("history/local-ai-lab/dev/dev-1.history.json.attrs", ""),
        )
    ]
    kept = [
        _attributes("stacks/local-ai-lab/dev.json", ""),
        _attributes("stacks/local-ai-lab/other.json.attrs", ""),
        _attributes("history/local-ai-lab/dev/dev-2.history.json.attrs", "{}"),
    ]
    assert backend.remove_damaged_attributes(ROOT, "dev") == len(broken)
    assert [path for path in [*broken, *kept] if path.exists()] == kept
    assert backend.remove_damaged_attributes(ROOT, "dev") == 0


class Recorded(Workspace):
    """A workspace that notes what it would have called."""

    calls: ClassVar[list[tuple[str, ...]]] = []

    def call(self, *words: str, text: str | None = None, cwd: Path | None = None) -> str:
        self.calls.append((*words, *([text] if text else [])))
        return "{exported}"


@pytest.fixture
def workspace(tmp_path: Path) -> Recorded:
    Recorded.calls = []
    home = tmp_path / "home"
    return Recorded(ROOT, "dev", Pulumi(home / "bin/pulumi", home, "3.274.1", "modules"), tmp_path / "tmp")


def test_a_sound_stack_needs_nothing(workspace: Recorded) -> None:
    assert recovery.recover(workspace, {"resources": []}) == []
    assert workspace.calls == []


def test_a_dead_lock_and_pending_operations_are_taken_away_through_pulumi_itself(workspace: Recorded) -> None:
    dead = _dead()
    _lock("a", dead)
    done = recovery.recover(workspace, {"pending_operations": [{"type": "creating"}, {"type": "creating"}]})
    assert [str(dead) in done[0], "2 operations" in done[1]] == [True, True]
    assert workspace.calls == [
        ("cancel", "--yes", "--stack", "dev"),
        ("stack", "export", "--stack", "dev"),
        ("stack", "import", "--stack", "dev", "{exported}"),
    ]


def _plugin(workspace: Recorded) -> Path:
    home: Any = workspace.pulumi.home
    return _program(home / "plugins/resource-kubernetes-v4.25.0/pulumi-resource-kubernetes")


def test_a_plugin_whose_cli_is_gone_is_ended(workspace: Recorded, started: list[subprocess.Popen[bytes]]) -> None:
    started.append(subprocess.Popen([_plugin(workspace), "60"]))
    time.sleep(0.2)  # until it runs the program and is no copy of ours
    assert "ended 1 of" in recovery.recover(workspace, {})[0]
    assert started[0].wait(timeout=20) == -9


def test_a_plugin_of_a_living_cli_is_left_alone(
    workspace: Recorded, tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    cli = tmp_path / "bin" / "pulumi"  # a shell under the CLI's name
    cli.parent.mkdir()
    shutil.copy2(Path("/bin/sh").resolve(), cli)
    started.append(subprocess.Popen([cli, "-c", f"{_plugin(workspace)} 60 & wait"]))
    end = time.monotonic() + 20
    while not list(_children(started[0].pid)) and time.monotonic() < end:
        time.sleep(0.05)
    (child,) = _children(started[0].pid)
    time.sleep(0.2)
    assert recovery.recover(workspace, {}) == []
    os.kill(child, 9)


def _children(process: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            yield int(entry.parent.name)
