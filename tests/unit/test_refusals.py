"""Refusals that help: what hardware, driver or wish would work."""

from __future__ import annotations

from typing import Any

import pytest

from cli.commands.what_if import _settings
from stacks.catalog import load
from stacks.errors import Edit, PlanError, Problem
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.settings import Settings


def planned(machine: dict[str, Any], **model: Any) -> Plan:
    spec = {"name": "m", "contextTokens": 4096, "concurrentRequests": 1, **model}
    own = {"kind": "nvidia", "memoryGiB": 64, "cpus": 16, **machine}
    settings = Settings.from_config({"machine": own, "cluster": {"driver": "minikube"}, "models": [spec]})
    return build_plan(settings, stack="test")


def test_the_nearest_card_that_holds_it_is_named_by_memory() -> None:
    with pytest.raises(PlanError) as caught:
        planned({"gpu": "rtx-2060-super"}, model="qwen2.5-14b-instruct", contextTokens=8192)
    (proposal,) = [p for p in caught.value.proposals if p.edits[0].path == "machine.gpu"]
    named = load().gpu(str(proposal.edits[0].value))
    assert named.memory["linux"].value > 27  # 14.8 billion weights in 16 bit are 27.5 GiB
    smaller = [
        name
        for name, gpu in load().gpus.items()
        if "linux" in gpu.memory and 30 < gpu.memory["linux"].value < named.memory["linux"].value
    ]
    for name in smaller:
        with pytest.raises(PlanError):
            planned({"gpu": name}, model="qwen2.5-14b-instruct", contextTokens=8192)


def test_an_old_driver_is_answered_with_the_one_to_install() -> None:
    with pytest.raises(PlanError) as caught:
        planned({"gpu": "rtx-4090", "nvidiaDriver": "535.183"}, model="qwen2.5-1.5b-instruct")
    edits = {p.edits[0].path: p.edits[0].value for p in caught.value.proposals}
    least = str(load().images["vllm-cuda"].minimum_driver.value)
    assert edits["machine.nvidiaDriver"] == least
    assert planned({"gpu": "rtx-4090", "nvidiaDriver": least}, model="qwen2.5-1.5b-instruct")


def concurrency(plan: Plan) -> tuple[str, str]:
    (found,) = [d for d in plan.all_decisions() if d.name == "m.concurrency"]
    return found.kind, found.reason


def test_fewer_full_length_requests_than_may_run_are_a_degraded_setting() -> None:
    machine = {"gpu": "rtx-4090"}
    kind, reason = concurrency(
        planned(machine, model="qwen2.5-7b-instruct", contextTokens=32768, concurrentRequests=64)
    )
    assert (kind, "64 may run: longer ones wait or are preempted" in reason) == ("degraded", True)
    assert concurrency(planned(machine, model="qwen2.5-7b-instruct", concurrentRequests=2))[0] == "derived"


def test_the_hosts_driver_comes_before_the_images_compat_libraries() -> None:
    environment = planned({"gpu": "rtx-4090"}, model="qwen2.5-1.5b-instruct").models[0].environment
    assert "/usr/local/nvidia/lib64" in environment["LD_LIBRARY_PATH"].split(":")
    assert not any("compat" in folder for folder in environment["LD_LIBRARY_PATH"].split(":"))


def test_any_line_of_a_stack_file_can_be_asked_about() -> None:
    problems: list[Problem] = []
    assert _settings(("models[0].lora.adapters=2", "machine.sharedCard=true"), problems) == [
        Edit("models[0].lora.adapters", 2),
        Edit("machine.sharedCard", True),
    ]
    assert problems == []
    assert _settings(("nonsense", "a b=1"), problems) == []
    assert [problem.message for problem in problems] == ["nonsense is no setting", "a b=1 is no setting"]
