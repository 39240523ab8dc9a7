"""What a start printed, kept beside the stack file, and what the next plan makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stacks import measured
from stacks.errors import LabError
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.planning.engines.vllm.measured_start import beside, kept
from stacks.planning.engines.vllm.start_log import StartFigures, read_start
from stacks.settings import Settings

# Sentences as vLLM 0.32.0 prints them (v1/worker/gpu_worker.py, v1/worker/gpu/model_runner.py,
# v1/core/kv_cache_utils.py).
GIVEN = """
(EngineCore pid=24) INFO 11-26 13:01:20 [core.py:133] Initializing a V1 LLM engine (v0.31.0) with config: model='/models/x'
(EngineCore pid=24) INFO 11-26 13:01:31 [model_runner.py:425] Model loading took 2.28 GiB memory and 3.1 seconds
(EngineCore pid=24) INFO 11-26 13:01:33 [gpu_worker.py:669] Initial free memory 6.31 GiB, reserved 3.49 GiB memory for KV Cache as specified by kv_cache_memory_bytes config and skipped memory profiling. This does not respect the
(EngineCore pid=24) INFO 11-26 13:01:33 [kv_cache_utils.py:2327] GPU KV cache size: 9,482 tokens, Maximum concurrency for 4,096 tokens per request: 2.31x
\x1b[36m(EngineCore pid=24)\x1b[0m INFO 11-26 13:01:39 [model_runner.py:1128] Graph capturing finished in 6 secs, took 0.21 GiB
"""  # noqa: E501
PROFILED = """
INFO [core.py:133] Initializing a V1 LLM engine (v0.12.0) with config: model='/models/x'
INFO Model loading took 2.2814 GiB memory and 3.1 seconds
INFO Available KV cache memory: 1.23 GiB
INFO Initializing a V1 LLM engine (v0.31.0) with config: model='/models/x'
INFO Model loading took 2.30 GiB memory and 3.1 seconds
INFO Available KV cache memory: 3.11 GiB
INFO GPU KV cache size: 8,448 tokens, Maximum concurrency for 4,096 tokens per request: 2.06x
INFO Free memory on device (6.31/8.0 GiB) on startup. Desired GPU memory utilization is (0.78, 6.24 GiB). Actual usage is 2.3 GiB for weight, 0.61 GiB for peak activation, 0.05 GiB for non-torch memory, and 0.21 GiB for CUDAGraph memory.
"""  # noqa: E501
CPU = """
(EngineCore pid=24) INFO 11-26 13:01:20 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='/models/g'
(Worker pid=36) INFO 11-26 13:01:28 [weight_utils.py:1108] Filesystem type for checkpoints: EXT4. Checkpoint size: 0.50 GiB. Available RAM: 3.34 GiB.
(Worker pid=36) INFO 11-26 13:01:33 [cpu_worker.py:260] Explicitly set (1.0/7.0) GiB for KV cache on node 0.
(EngineCore pid=24) INFO 11-26 13:01:33 [kv_cache_utils.py:2327] CPU KV cache size: 55,356 tokens, Maximum concurrency for 2,048 tokens per request: 27.03x
"""  # noqa: E501
CARD = {"kind": "nvidia", "gpu": "rtx-2060-super", "memoryGiB": 16, "wslMemoryGiB": 12, "cpus": 8, "platform": "wsl2"}
PHI = {"name": "phi", "model": "phi-3-mini-4k-instruct-awq", "contextTokens": 4096}


def planned(starts: tuple[measured.Start, ...] = (), **model: Any) -> Plan:
    own = {"machine": CARD, "cluster": {"driver": "minikube"}, "models": [{**PHI, **model}]}
    return build_plan(Settings.from_config(own), stack="box", measured=starts)


def start_of(text: str, plan: Plan) -> measured.Start:
    return kept(plan.models[0], plan.machine, PHI["model"], read_start(text))


def measured_decisions(plan: Plan) -> dict[str, str]:
    return {d.name.rpartition(".")[2]: d.value for d in plan.all_decisions() if d.kind == "measured"}


def test_a_start_with_a_given_cache_tells_free_memory_weights_tokens_and_graphs() -> None:
    assert read_start(GIVEN) == StartFigures(
        version="0.31.0", weights_gib=2.28, given_kv_cache_gib=3.49, kv_tokens=9482, concurrency=2.31, graphs_gib=0.21,
        free_gib=6.31
    )  # fmt: skip


def test_only_the_last_start_of_a_log_counts() -> None:
    assert read_start(PROFILED) == StartFigures(
        version="0.31.0", weights_gib=2.3, kv_cache_gib=3.11, kv_tokens=8448, concurrency=2.06, free_gib=6.31,
        total_gib=8.0,
        activation_gib=0.61, non_torch_gib=0.05,
    )  # fmt: skip


def test_an_engine_on_processors_tells_its_pool() -> None:
    assert read_start(CPU) == StartFigures(
        version="0.32.0", checkpoint_gib=0.5, given_kv_cache_gib=1.0, kv_tokens=55356, concurrency=27.03
    )


def test_another_log_tells_nothing() -> None:
    assert not read_start("GET /health 200\n").told_anything


def test_the_file_is_read_as_it_was_written_and_equal_starts_give_equal_text(tmp_path: Path) -> None:
    start = start_of(GIVEN, planned())
    path = measured.path_of(tmp_path, "box")
    path.parent.mkdir()
    path.write_text(measured.text_of((start,)))
    assert measured.read(tmp_path, "box") == (start,)
    assert measured.text_of(measured.read(tmp_path, "box")) == path.read_text()
    assert measured.read(tmp_path, "other") == ()


@pytest.mark.parametrize("text", ["starts: 1", "[", "starts: [{name: a}]", "{}"])
def test_a_damaged_file_is_refused_with_what_to_type(text: str, tmp_path: Path) -> None:
    measured.path_of(tmp_path, "box").parent.mkdir()
    measured.path_of(tmp_path, "box").write_text(text)
    with pytest.raises(LabError, match=r"measured/box\.yaml cannot be used") as caught:
        measured.read(tmp_path, "box")
    assert "./lab learn box writes it again" in caught.value.remedy


def test_the_next_plan_uses_what_was_printed_and_says_so() -> None:
    plan = planned()
    again = planned((start_of(GIVEN, plan),))
    assert measured_decisions(again) == {"freeMemory": "6.31 GiB", "weights": "2.28 GiB"}
    memory = again.models[0].memory
    assert memory.weights_gib == 2.28
    assert memory.total_gib - memory.desktop_gib - memory.context_gib == pytest.approx(6.31, abs=0.002)
    assert memory.budget_gib <= 6.31
    assert planned((start_of(GIVEN, plan),)).digest == again.digest  # and so does the one after it


def test_weights_without_adapters_say_nothing_of_a_start_with_them() -> None:
    start = start_of(GIVEN, planned(contextTokens=1024))
    changed = {"contextTokens": 1024, "lora": {"adapters": 2, "rank": 16}}
    again = planned((start,), **changed)
    assert measured_decisions(again) == {"freeMemory": "6.31 GiB"}
    unmeasured = planned(**changed).models[0].memory.weights_gib
    assert again.models[0].memory.weights_gib == unmeasured > planned().models[0].memory.weights_gib + 0.1
    with_them = start_of(GIVEN, again)
    assert with_them.beside == "2 adapters of rank 16"
    assert measured_decisions(planned((with_them,), **changed))["weights"] == "2.28 GiB"


def test_half_the_weights_of_two_cards_are_not_taken_for_those_of_one() -> None:
    machine = {"kind": "nvidia", "gpu": "rtx-3090", "gpus": 2, "memoryGiB": 64, "cpus": 16}
    model = {"name": "m", "model": "qwen2.5-14b-instruct", "contextTokens": 4096, "concurrentRequests": 4}
    settings = Settings.from_config({"machine": machine, "cluster": {"driver": "minikube"}, "models": [model]})
    plan = build_plan(settings, stack="box")
    assert plan.models[0].engine.tensor_parallel_size == 2
    printed = GIVEN.replace("2.28 GiB", f"{plan.models[0].memory.weights_gib:.2f} GiB").replace("6.31 GiB", "23.00 GiB")
    start = kept(plan.models[0], plan.machine, model["model"], read_start(printed))
    assert build_plan(settings, stack="box", measured=(start,)).models[0].engine.tensor_parallel_size == 2


def test_a_start_that_worked_its_cache_out_narrows_the_band() -> None:
    pinned = planned(pin={"gpuMemoryUtilization": 0.7}, contextTokens=2048)
    again = planned((start_of(PROFILED, pinned),))
    assert set(measured_decisions(again)) == {"freeMemory", "weights", "offset"}
    assert again.models[0].memory.error_band_gib < planned().models[0].memory.error_band_gib / 2


def test_another_version_or_card_learns_nothing() -> None:
    start = start_of(GIVEN, planned())
    for other in ({"version": "0.20.0"}, {"device": "rtx-4090"}, {"platform": "linux"}):
        assert planned((start.model_copy(update=other),)) == planned()


def test_a_part_that_is_off_by_more_than_the_band_is_marked() -> None:
    plan = planned()
    start = start_of(GIVEN.replace("2.28 GiB memory", "5.28 GiB memory"), plan)
    off = {row.part: row.off for row in beside(plan.models[0], start) if row.unit == "GiB"}
    assert off["weights"] and not off["CUDA graphs"]


def test_a_machine_without_a_card_shows_the_measured_pool() -> None:
    machine = {"kind": "cpu", "memoryGiB": 24, "cpus": 2}
    model = {"name": "g", "model": "gemma-3-270m", "contextTokens": 2048, "concurrentRequests": 4}
    settings = Settings.from_config({"machine": machine, "cluster": {"driver": "embedded"}, "models": [model]})
    plan = build_plan(settings, stack="box")
    start = kept(plan.models[0], plan.machine, "gemma-3-270m", read_start(CPU))
    assert not any(row.off for row in beside(plan.models[0], start))
    again = build_plan(settings, stack="box", measured=(start,))
    assert measured_decisions(again) == {"kvTokens": "55,356"}
    assert again.digest == plan.digest
