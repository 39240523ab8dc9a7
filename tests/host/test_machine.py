"""What a stack file may leave to the machine."""

import os

import pytest

from host.system import machine
from stacks.errors import HostError
from stacks.planning.build import build_plan
from stacks.settings import Settings

OWN = {
    "machine": {"kind": "cpu"},
    "cluster": {"driver": "embedded"},
    "models": [{"name": "m", "model": "gemma-3-270m", "contextTokens": 512}],
}


def test_memory_and_processors_are_those_of_this_process(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LAB_MACHINE")
    (tmp_path / "meminfo").write_text("MemTotal:       25165823 kB\nMemFree: 1 kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (tmp_path / "none",))
    assert machine.detected() == {"memoryGiB": 23, "cpus": len(os.sched_getaffinity(0))}  # a kB below 24 GiB


def test_a_containers_limit_counts_and_max_is_none(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LAB_MACHINE")
    (tmp_path / "meminfo").write_text("MemTotal: 33554432 kB\n")
    (tmp_path / "limit").write_text(f"{8 * 2**30}\n")
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (tmp_path / "limit",))
    assert machine.detected()["memoryGiB"] == 8
    monkeypatch.setattr(machine, "_CGROUP_LIMITS", (tmp_path / "max",))
    assert machine.detected()["memoryGiB"] == 32


def test_another_machine_can_be_named_and_nonsense_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("LAB_MACHINE", "memoryGiB=64,cpus=12")
    assert machine.detected() == {"memoryGiB": 64, "cpus": 12}
    monkeypatch.setenv("LAB_MACHINE", "big")
    with pytest.raises(HostError, match="LAB_MACHINE=big names no machine"):
        machine.detected()


def test_what_the_file_leaves_out_is_filled_and_the_plan_says_so() -> None:
    settings = Settings.from_config(OWN, detected={"memoryGiB": 20, "cpus": 6})
    assert (settings.machine.memory_gib, settings.machine.cpus) == (20, 6)
    decisions = {d.name: d for d in build_plan(settings, stack="s").decisions}
    memory = decisions["machine.linuxMemory"]
    assert (memory.value, memory.kind, memory.source) == ("20.00 GiB", "derived", "/proc/meminfo")


def test_what_the_file_says_is_never_replaced() -> None:
    own = {**OWN, "machine": {"kind": "cpu", "memoryGiB": 12, "cpus": 3}}
    settings = Settings.from_config(own, detected={"memoryGiB": 20, "cpus": 6})
    assert (settings.machine.memory_gib, settings.machine.cpus, settings.machine.detected) == (12, 3, ())
