"""A dead cluster runs the bootstrap again; a new one in its place is never taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import generation, state
from stacks import names

STACK = "dev"


def _kubeconfig() -> None:
    path = Path(names.kubeconfig(STACK)).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_a_machine_that_never_had_a_cluster_starts_at_nought() -> None:
    assert generation.wanted_generation(STACK) == 0


def test_a_living_cluster_keeps_its_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    state.record(STACK, 3, "ours")
    _kubeconfig()
    monkeypatch.setattr(generation, "cluster_uid", lambda _stack: "ours")
    assert generation.wanted_generation(STACK) == 3


def test_a_dead_cluster_counts_up(monkeypatch: pytest.MonkeyPatch) -> None:
    state.record(STACK, 3, "ours")
    _kubeconfig()
    monkeypatch.setattr(generation, "cluster_uid", lambda _stack: None)
    assert generation.wanted_generation(STACK) == 4


def test_a_cluster_that_vanished_with_its_kubeconfig_counts_up() -> None:
    state.record(STACK, 3, "ours")
    assert generation.wanted_generation(STACK) == 4


def test_a_cluster_that_its_stack_removed_does_not_count_up() -> None:
    state.record(STACK, 3, "")
    assert generation.wanted_generation(STACK) == 3


def test_another_cluster_stops_the_program_and_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    state.record(STACK, 3, "ours")
    _kubeconfig()
    monkeypatch.setattr(generation, "cluster_uid", lambda _stack: "theirs")
    with pytest.raises(generation.ClusterReplaced, match="is gone") as raised:
        generation.wanted_generation(STACK)
    assert "./lab up dev" in raised.value.remedy
    generation.accept_replacement(STACK)
    assert generation.wanted_generation(STACK) == 3
    assert generation.recorded_uid(STACK) == "theirs"
