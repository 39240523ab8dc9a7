"""What works on a root file system ends with us, and what it is given stays out of sight."""
# ruff: noqa: S607

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host.artifacts.images import contained
from tests.support.expected_commands import Call, expect
from tests.support.stacks import ROOT

_CAN_UNSHARE = (
    os.geteuid() == 0
    and subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True).returncode
    == 0
)


@pytest.mark.skipif(not _CAN_UNSHARE, reason="needs root and namespaces")
def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\nfrom host.system import command\nfrom host.artifacts.images.contained import contained\n"
        "command.run([*contained(pathlib.Path(sys.argv[1])), 'sh', '-c', 'sleep 4711 & sleep 4711'], timeout=60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "busy")], cwd=ROOT)
    _wait(lambda: _sleepers(run.pid) >= 2)
    run.send_signal(signal.SIGKILL)
    run.wait()
    _wait(lambda: _locked_by_nobody(tmp_path / "busy"))


@pytest.mark.skipif(not _CAN_UNSHARE, reason="needs root and namespaces")
def test_a_script_sees_only_its_root_and_leaves_no_mount(tmp_path: Path) -> None:
    rootfs = _tiny_root(tmp_path)
    given = tmp_path / "given"
    given.write_text("42")
    (tmp_path / "out").mkdir()
    before = Path("/proc/self/mounts").read_text()
    contained.in_root(
        rootfs, "read -r word < /mnt/given || true; echo $word > /mnt/out/seen; (echo no > /mnt/given) 2>/dev/null "
                "&& exit 7; exit 0",
        busy=tmp_path / "busy", binds={given: "given", tmp_path / "out": "out"}, writable=["out"], timeout=20,
        log=tmp_path / "log",
    )  # fmt: skip
    assert (tmp_path / "out/seen").read_text() == "42\n" and given.read_text() == "42"
    assert Path("/proc/self/mounts").read_text() == before
    assert list((rootfs / "mnt").iterdir()) == []


@pytest.mark.skipif(not _CAN_UNSHARE, reason="needs root and namespaces")
def test_a_script_in_a_read_only_root_changes_nothing_there(tmp_path: Path) -> None:
    rootfs = _tiny_root(tmp_path)
    (tmp_path / "out").mkdir()
    before = {path: path.lstat().st_ctime_ns for path in (rootfs, *rootfs.rglob("*"))}
    contained.in_root(
        rootfs, "(: > /new) 2>/dev/null && exit 7; (: >> /bin/sh) 2>/dev/null && exit 8; echo yes > /tmp/scratch; "
                "echo yes > /mnt/out/seen",
        busy=tmp_path / "busy", binds={tmp_path / "out": "out"}, writable=["out"], read_only=True, timeout=20,
        log=tmp_path / "log",
    )  # fmt: skip
    assert (tmp_path / "out/seen").read_text() == "yes\n"
    assert {path: path.lstat().st_ctime_ns for path in (rootfs, *rootfs.rglob("*"))} == before


def test_without_network_there_is_a_network_namespace_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = expect(monkeypatch, Call(["unshare", "--net", "sh"], root=True), Call(["unshare", "sh"], root=True))
    arguments = {"busy": tmp_path / "busy", "binds": {}, "timeout": 1, "log": tmp_path / "log"}
    contained.in_root(tmp_path, "true", **arguments)
    contained.in_root(tmp_path, "true", network=True, **arguments)
    assert "--net" not in calls.made[1]


def _tiny_root(tmp_path: Path) -> Path:
    """A root with a shell and env: the machine's own programs and libraries, bound by symbolic links into nothing would
    not do, so copied.
    """
    rootfs = tmp_path / "rootfs"
    for folder in ("dev", "proc", "mnt", "bin", "usr/bin", "tmp"):
        (rootfs / folder).mkdir(parents=True)
    for program in ("/bin/sh", "/usr/bin/env"):
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        files = [program, *(word for word in listed.split() if word.startswith("/"))]
        for file in files:
            target = rootfs / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(file).read_bytes())
            target.chmod(0o755)
    return rootfs


def _sleepers(parent: int) -> int:
    found = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    tree, rows = {parent}, [line.split(maxsplit=2) for line in found[1:]]
    for _ in range(6):
        tree |= {int(pid) for pid, above, _ in rows if int(above) in tree}
    return sum(int(pid) in tree and words == "sleep 4711" for pid, _, words in rows)


def _locked_by_nobody(path: Path) -> bool:
    return subprocess.run(["flock", "--nonblock", path, "true"], check=False).returncode == 0


def _wait(condition: object) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen within ten seconds"
        time.sleep(0.05)
