"""What a real engine printed on a card, beside what is predicted for the same KV cache."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.catalog import load
from stacks.planning.engines.vllm.memory import GIB, EngineRun, predict
from stacks.planning.engines.vllm.networks import network
from tests.support.stacks import ROOT

RECORD = [json.loads(line) for line in (ROOT / "research/gpu/h100-vllm-0.26.jsonl").read_text().splitlines()]
MODELS = {
    "llama-3.1-8b": "llama-3.1-8b-instruct",
    "gemma-3-1b": "gemma-3-1b-it",
    "phi-3-mini AWQ": "phi-3-mini-4k-instruct-awq",
}
DRIVEN = [start for start in RECORD if "driven" in start]


def run_of(start: dict[str, Any]) -> EngineRun:
    model, told = load().model(MODELS[start["network"]]), start["arguments"]
    return EngineRun(
        architecture=network(model), version=start["vllm"], total_gib=79.19, free_gib=start["freeAtStartGiB"],
        capability=(9, 0),
        max_model_len=told["max_model_len"], max_num_seqs=told["max_num_seqs"],
        max_num_batched_tokens=told["max_num_batched_tokens"],
        dtype=told["dtype"], quantization=model.quantization, kv_cache_memory_gib=told["kv_cache_memory_bytes"] / GIB,
    )  # fmt: skip


@pytest.mark.parametrize("start", DRIVEN, ids=lambda start: start["id"])
def test_the_printed_tokens_are_the_predicted_ones(start: dict[str, Any]) -> None:
    assert predict(run_of(start)).kv_tokens == start["kvTokens"]


@pytest.mark.parametrize("start", DRIVEN, ids=lambda start: start["id"])
def test_the_room_kept_for_prompt_logprobs_was_enough_and_not_for_nothing(start: dict[str, Any]) -> None:
    kept = predict(run_of(start)).serving_peak_gib
    lost = start["freeAfterStartGiB"] - min(phase["freeAfterGiB"] for phase in start["driven"])
    assert all(phase["error"] is None for phase in start["driven"])
    assert any(phase["promptLogprobs"] is not None for phase in start["driven"])
    assert 0 < lost <= kept + 0.4  # the rest is the caching allocator's, beside what the profile run saw


def test_the_same_start_takes_the_same_memory_each_time() -> None:
    parts = ("weightsGiB", "activationGiB", "nonTorchGiB", "kvCacheGiB", "graphsGiB", "kvTokens")
    starts = [tuple(start[part] for part in parts) for start in RECORD if start["id"].startswith("gpu-014")]
    assert len(starts) == 3 and len(set(starts)) == 1
