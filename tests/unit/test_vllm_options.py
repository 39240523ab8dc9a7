"""What people ask of vLLM beside a plain start: several cards, drafts, adapters, images, larger steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.catalog import load
from stacks.errors import PlanError, SettingsError
from stacks.plan import ModelPlan, Plan
from stacks.planning.build import build_plan
from stacks.planning.engines.vllm.flags import unknown_flags
from stacks.planning.engines.vllm.legality import check_tensor_parallel
from stacks.planning.engines.vllm.networks import network
from stacks.settings import Settings


def planned(gpu: str, gpus: int = 1, **model: Any) -> Plan:
    spec = {"name": "m", "contextTokens": 4096, "concurrentRequests": 4, **model}
    machine = {"kind": "nvidia", "gpu": gpu, "gpus": gpus, "memoryGiB": 64, "cpus": 16}
    return build_plan(
        Settings.from_config({"machine": machine, "cluster": {"driver": "minikube"}, "models": [spec]}), stack="test"
    )


def flag(model: ModelPlan, name: str) -> str | None:
    return model.args[model.args.index(name) + 1] if name in model.args else None


def decision(plan: Plan, name: str) -> str:
    return next(f"{d.kind}: {d.value}, {d.reason}" for d in plan.all_decisions() if d.name == name)


def test_a_model_that_one_card_does_not_hold_spans_as_few_as_hold_it() -> None:
    plan = planned("rtx-3090", 2, model="qwen2.5-14b-instruct")
    (model,) = plan.models
    assert (model.engine.tensor_parallel_size, model.resources.gpus) == (2, 2)
    assert flag(model, "--tensor-parallel-size") == "2"
    assert len([card for card in plan.cards if card.shares]) == 2
    assert "one card does not hold the model" in decision(plan, "m.tensorParallelSize")
    for card in plan.cards:
        assert sum(s.fixed_gib + s.kv_cache_gib for s in card.shares) + card.desktop_gib <= card.total_gib


def test_one_card_is_enough_where_it_is_and_the_other_is_said_to_be_idle() -> None:
    plan = planned("rtx-3090", 2, model="qwen2.5-1.5b-instruct")
    assert plan.models[0].engine.tensor_parallel_size == 1
    assert "--tensor-parallel-size" not in plan.models[0].args
    assert "1 idle: more replicas, another model or tensorParallel would use it" in decision(plan, "gpus")


@pytest.mark.long
def test_what_is_stated_is_taken_and_what_cannot_be_split_is_refused() -> None:
    plan = planned("rtx-3090", 4, model="qwen2.5-1.5b-instruct", tensorParallel=2)
    assert plan.models[0].engine.tensor_parallel_size == 2
    with pytest.raises(PlanError, match="its 12 attention heads cannot be split over 8 cards"):
        planned("rtx-3090", 8, model="qwen2.5-1.5b-instruct", tensorParallel=8)
    with pytest.raises(PlanError, match="tensorParallel is 4, and the machine has 2 cards"):
        planned("rtx-3090", 2, model="qwen2.5-1.5b-instruct", tensorParallel=4)


def test_key_value_heads_are_split_or_repeated() -> None:
    shape = network(load().model("qwen2.5-1.5b-instruct"))  # 12 heads, 2 key-value heads
    assert check_tensor_parallel(shape, 2) is None
    assert check_tensor_parallel(shape, 4) is None  # each of the two is held by two cards
    assert "2 key-value heads cannot be split over 3 cards" in str(check_tensor_parallel(shape, 3))


def test_two_replicas_of_an_engine_that_spans_two_cards_take_four() -> None:
    plan = planned("rtx-3090", 4, model="qwen2.5-14b-instruct", replicas=2)
    assert [len(card.shares) for card in plan.cards] == [1, 1, 1, 1]
    with pytest.raises(PlanError):
        planned("rtx-3090", 3, model="qwen2.5-14b-instruct", replicas=2)


def test_a_second_model_proposes_tokens_and_its_weights_are_fetched_and_counted() -> None:
    speculative = {"method": "draft_model", "tokens": 3, "model": "qwen2.5-0.5b-instruct"}
    plain = planned("rtx-4090", model="qwen2.5-7b-instruct")
    plan = planned("rtx-4090", model="qwen2.5-7b-instruct", speculative=speculative)
    (model,) = plan.models
    assert model.draft_weights is not None
    told = json.loads(flag(model, "--speculative-config") or "")
    assert told == {
        "method": "draft_model",
        "num_speculative_tokens": 3,
        "model": f"/models/{model.draft_weights.directory}",
    }
    assert model.memory.weights_gib > plain.models[0].memory.weights_gib + 0.8  # half a billion weights in 16 bit
    downloads = [c.what for c in plan.host_changes if "of weights" in c.what]
    assert len(downloads) == 2


def test_lookup_in_the_prompt_needs_no_second_model() -> None:
    model = planned("rtx-4090", model="qwen2.5-7b-instruct", speculative={"method": "ngram", "tokens": 4}).models[0]
    assert json.loads(flag(model, "--speculative-config") or "") == {"method": "ngram", "num_speculative_tokens": 4}
    assert model.draft_weights is None


@pytest.mark.parametrize(
    ("speculative", "message"),
    [
        ({"method": "draft_model", "tokens": 3}, "method draft_model needs a second model"),
        ({"method": "ngram", "tokens": 3, "model": "qwen2.5-0.5b-instruct"}, "has no meaning with method ngram"),
    ],
)
def test_a_second_model_is_asked_for_exactly_where_one_is_used(speculative: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        planned("rtx-4090", model="qwen2.5-7b-instruct", speculative=speculative)


def test_adapters_take_room() -> None:
    plain = planned("rtx-4090", model="qwen2.5-7b-instruct").models[0]
    model = planned("rtx-4090", model="qwen2.5-7b-instruct", lora={"adapters": 4, "rank": 64}).models[0]
    assert ("--enable-lora" in model.args, flag(model, "--max-loras"), flag(model, "--max-lora-rank")) == (
        True,
        "4",
        "64",
    )
    assert model.memory.kv_cache_gib < plain.memory.kv_cache_gib - 0.3


@pytest.mark.long
def test_text_only_saves_the_encoders_memory_and_a_text_model_refuses_the_setting() -> None:
    images = planned("rtx-4090", model="gemma-3-4b-it").models[0]
    text = planned("rtx-4090", model="gemma-3-4b-it", imagesPerRequest=0).models[0]
    assert flag(text, "--limit-mm-per-prompt") == '{"image":0}'
    assert "--limit-mm-per-prompt" not in images.args
    assert text.memory.kv_cache_gib > images.memory.kv_cache_gib
    with pytest.raises(PlanError, match="takes no images"):
        planned("rtx-4090", model="qwen2.5-7b-instruct", imagesPerRequest=1)


def test_larger_steps_are_taken_as_asked() -> None:
    model = planned("rtx-4090", model="qwen2.5-1.5b-instruct", maxNumBatchedTokens=8192).models[0]
    assert flag(model, "--max-num-batched-tokens") == "8192"


def test_every_flag_exists_in_the_version_of_the_image() -> None:
    options = {"lora": {"adapters": 1}, "speculative": {"method": "ngram", "tokens": 2}, "tensorParallel": 2}
    model = planned("rtx-4090", 2, model="gemma-3-4b-it", imagesPerRequest=1, **options).models[0]
    assert unknown_flags(model.args, model.engine_version, load()) == []


def test_a_machine_without_a_card_refuses_them() -> None:
    spec = {"name": "m", "model": "gemma-3-270m", "contextTokens": 512, "tensorParallel": 1}
    own = {"machine": {"kind": "cpu", "memoryGiB": 24, "cpus": 4}, "cluster": {"driver": "embedded"}, "models": [spec]}
    with pytest.raises(PlanError, match=r"tensorParallel is not offered on machine\.kind cpu"):
        build_plan(Settings.from_config(own), stack="test")
