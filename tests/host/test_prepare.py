"""What a first `up` fetches and builds: two lanes at once, each in order, the first failure said at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from host import prepare
from host.artifacts import images, pulumi
from host.drivers.embedded import namespaces, parts, preflight
from stacks.errors import HostError
from tests.support.stacks import plan

_PATIENCE = 20.0  # seconds; a lane that waits longer for the other one has been run after it


def test_each_lane_keeps_its_order_and_the_lanes_run_at_once() -> None:
    first, second = threading.Event(), threading.Event()
    done: list[str] = []

    def meets(own: threading.Event, other: threading.Event, name: str) -> None:
        own.set()
        assert other.wait(_PATIENCE)
        done.append(name)

    prepare._side_by_side([
        [lambda: meets(first, second, "a1"), lambda: done.append("a2")],
        [lambda: meets(second, first, "b1"), lambda: done.append("b2")],
    ])  # fmt: skip
    assert done.index("a1") < done.index("a2")
    assert done.index("b1") < done.index("b2")
    assert len(done) == 4


def test_the_first_failure_is_raised_while_the_other_lane_still_works() -> None:
    forever = threading.Event()

    def fails() -> None:
        raise HostError("the disk is full")

    with pytest.raises(HostError, match="the disk is full"):
        prepare._side_by_side(
            [[lambda: forever.wait(_PATIENCE)], [fails, lambda: pytest.fail("a lane ends with its failure")]]
        )
    assert not forever.is_set()
    forever.set()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be made, in the order in which it was asked for; nothing is."""
    found: list[str] = []
    monkeypatch.setattr(parts, "available", lambda _plan, _cache: None)
    monkeypatch.setattr(namespaces, "present", lambda _layout: False)
    monkeypatch.setattr(preflight, "check", lambda _layout, warm: found.append(f"preflight warm={warm}"))
    monkeypatch.setattr(pulumi, "get", lambda _cache, plugins: f"pulumi {sorted(plugins)}")
    monkeypatch.setattr(parts, "make", lambda _plan, _cache: found.append("parts"))
    monkeypatch.setattr(images, "ensure_image", lambda reference: found.append(f"image {reference}"))
    monkeypatch.setattr(prepare, "ensure_weights", lambda spec, _cache: found.append(f"weights {spec.directory}"))
    return found


def test_everything_that_the_stack_needs_is_made_after_the_machine_was_looked_at(made: list[str]) -> None:
    stack: Any = plan("dev")
    prepare.prepare_machine(stack, {"kubernetes": "4.25.0"}, made.append)
    assert made[0] == "preflight warm=False"
    assert made.index("pulumi ['kubernetes']") < made.index("parts")
    assert made.index(f"image {stack.cluster.images[0]}") < made.index(f"weights {stack.models[0].weights.directory}")
    assert len(made) == 5


def test_a_machine_that_cannot_carry_it_is_refused_before_anything_is_made(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_layout: object, warm: bool) -> None:
        raise HostError(f"too little disk, warm={warm}")

    monkeypatch.setattr(preflight, "check", refuse)
    with pytest.raises(HostError, match="too little disk"):
        prepare.prepare_machine(plan("dev"), {}, made.append)
    assert made == []
