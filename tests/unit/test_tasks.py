"""Models for other things than chat: what vLLM is told, what the plan counts, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from stacks.catalog import load
from stacks.errors import PlanError, SettingsError
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.planning.engines.vllm.flags import unknown_flags
from stacks.planning.engines.vllm.memory import EngineRun, predict
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config
from stacks.planning.engines.vllm.memory.kv_cache import pool
from stacks.planning.engines.vllm.memory.versions import behaviour
from stacks.planning.engines.vllm.networks import network
from stacks.settings import Settings
from tests.unit.test_vllm_options import flag

AUDIO = "registry.local/vllm-audio:v0.31.0"
SPEECH: dict[str, Any] = {"model": "whisper-large-v3-turbo", "contextTokens": 448, "image": AUDIO}


def planned(*models: dict[str, Any], gpus: int | None = None, **more: Any) -> Plan:
    specs = [{"name": f"m{n}", "port": 30080 + n, "contextTokens": 4096, **model} for n, model in enumerate(models)]
    machine = {"kind": "nvidia", "gpu": "rtx-4060", "gpus": gpus or len(models), "memoryGiB": 128, "cpus": 16}
    own = {"machine": machine, "cluster": {"driver": "minikube"}, "models": specs, **more}
    return build_plan(Settings.from_config(own), stack="test")


def test_a_cross_encoder_gets_the_pooling_runner_a_step_for_a_whole_text_and_no_kv_cache() -> None:
    (model,) = planned({"model": "bge-reranker-v2-m3", "contextTokens": 8192}).models
    assert (model.task, flag(model, "--runner"), flag(model, "--dtype")) == ("rerank", "pooling", "float16")
    assert flag(model, "--max-num-batched-tokens") == "8192"  # no chunked prefill: a shorter step would not start
    assert "--convert" not in model.args and "--kv-cache-memory-bytes" not in model.args
    assert (model.memory.kv_cache_gib, model.memory.kv_needed_gib, model.estimate) == (0.0, 0.0, None)
    held = model.memory.weights_gib + model.memory.activation_gib + model.memory.non_torch_gib
    assert held < float(flag(model, "--gpu-memory-utilization") or 0) * model.memory.total_gib < held + 0.1
    assert unknown_flags(model.args, model.engine_version, load()) == []


def test_an_encoder_leaves_the_rest_of_a_shared_card_to_the_model_beside_it() -> None:
    chat = {"model": "qwen2.5-1.5b-instruct"}
    own = {"kind": "nvidia", "gpu": "rtx-4090", "gpus": 1, "memoryGiB": 128, "cpus": 16, "sharedCard": True}
    specs = [{"name": "chat", **chat, "contextTokens": 4096, "port": 30080},
             {"name": "order", "model": "bge-reranker-v2-m3", "contextTokens": 512, "port": 30081}]  # fmt: skip
    settings = Settings.from_config({"machine": own, "cluster": {"driver": "minikube"}, "models": specs})
    plan = build_plan(settings, stack="test")
    (card,) = plan.cards
    given = {share.model: share.kv_cache_gib for share in card.shares}
    assert given["order"] == 0.0 and given["chat"] > 15


def test_the_original_qwen3_reranker_gets_its_head_its_tokens_and_the_template_beside_its_weights() -> None:
    (model,) = planned({"model": "qwen3-reranker-0.6b"}).models
    assert (flag(model, "--runner"), flag(model, "--convert")) == ("pooling", "classify")
    told = json.loads(flag(model, "--hf-overrides") or "")
    assert told["architectures"] == ["Qwen3ForSequenceClassification"] and told["classifier_from_token"] == [
        "no",
        "yes",
    ]
    assert flag(model, "--chat-template") == f"/models/{model.weights.directory}/chat_template.jinja"
    assert model.memory.kv_tokens > 4096  # a decoder reads the pair, and keeps what it read


def test_an_embedding_model_that_was_made_from_a_language_model_is_converted() -> None:
    (model,) = planned({"model": "qwen3-embedding-0.6b"}).models
    assert (model.task, flag(model, "--runner"), flag(model, "--convert")) == ("embedding", "pooling", "embed")
    (plain,) = planned({"model": "bge-base-en-v1.5", "contextTokens": 512}).models
    assert (flag(plain, "--runner"), flag(plain, "--convert")) == ("pooling", None)


def test_a_model_for_chat_is_told_nothing_new_and_its_plan_says_nothing_new() -> None:
    plan = planned({"model": "qwen2.5-1.5b-instruct"})
    assert not {"--runner", "--convert", "--hf-overrides", "--chat-template"} & set(plan.models[0].args)
    text = plan.to_json()
    assert '"task"' not in text and '"runner"' not in text
    assert plan.models[0].target == {"model": "m0", "endpoint": plan.models[0].endpoint}


@pytest.mark.parametrize("model", ["bge-reranker-v2-m3", "qwen3-reranker-0.6b", "qwen3-embedding-0.6b"])
def test_a_plan_is_read_back_as_it_was_written(model: str) -> None:
    plan = planned({"model": model})
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.models[0].target["task"] == load().model(model).task


def test_whisper_keeps_its_words_and_a_clip_of_sound_for_each_request() -> None:
    (model,) = planned(SPEECH).models
    assert (model.task, flag(model, "--max-model-len")) == ("transcription", "448")
    assert "--runner" not in model.args
    shape = network(load().model("whisper-large-v3-turbo"))
    page = 16 * 2 * 20 * 64 * 2  # tokens x (key, value) x heads x width x bytes
    paged = pool(shape, rules=behaviour("0.31.0"), dtype="float16", batched=2048)
    assert paged.block_bytes == 4 * page  # both kinds of its four layers draw from one pool
    # 448 words in blocks of 16, and what vLLM sets aside for sound: max_num_batched_tokens (CrossAttentionSpec)
    assert paged.blocks_per_request(448) == 448 // 16 + 2048 // 16
    assert model.memory.kv_needed_gib == pytest.approx(156 * 4 * page / 2**30, abs=0.001)


def test_the_pages_of_whisper_are_those_that_vllm_printed() -> None:
    # vLLM 0.32.0 on processors (pages of 128 tokens), a Whisper of three decoder layers, 4 heads of 32 values, 1 GiB:
    # "CPU KV cache size: 122,326 tokens, Maximum concurrency for 448 tokens per request: 273.05x"
    small = {"d_model": 128, "decoder_layers": 3, "decoder_attention_heads": 4, "decoder_ffn_dim": 128}
    shape = read_hf_config({**load().model("whisper-small").config, **small})
    paged = pool(shape, rules=behaviour("0.32.0"), block=128, batched=2048)
    assert paged.tokens(2**30, 448) == 122_326
    assert paged.concurrency(2**30, 448) == pytest.approx(273.05)


def test_a_step_of_whisper_holds_a_whole_clip_even_where_memory_is_short() -> None:
    own = {"maxNumBatchedTokens": 512, "concurrentRequests": 4}
    (model,) = planned({**SPEECH, **own}).models
    assert int(flag(model, "--max-num-batched-tokens") or 0) == 1500


def test_sound_needs_an_image_that_decodes_it_and_the_refusal_says_how_to_make_one() -> None:
    with pytest.raises(PlanError) as refused:
        planned({k: v for k, v in SPEECH.items() if k != "image"})
    assert "RUN uv pip install --system 'vllm[audio]==0.31.0'" in str(refused.value)
    assert "name it with `image:`" in str(refused.value)
    (model,) = planned(SPEECH).models
    assert model.image == AUDIO and model.engine_version == "0.31.0"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({**SPEECH, "contextTokens": 512}, "was trained for 448"),
        ({"model": "bge-reranker-v2-m3", "contextTokens": 8194}, "was trained for 8192"),
        ({"model": "bge-reranker-v2-m3", "kvCacheDtype": "fp8"}, "kvCacheDtype has no meaning"),
        ({"model": "qwen3-reranker-0.6b", "speculative": {"method": "ngram", "tokens": 2}}, "generates no text"),
        ({**SPEECH, "lora": {"adapters": 1}}, "lora is not offered for speech"),
    ],
)
def test_what_a_task_excludes_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        planned(model)


@pytest.mark.parametrize("image", ["vllm-audio", "registry.local/vllm-audio:latest", "-x:1", "a:1@sha256:12", "A:1"])
def test_an_image_of_ones_own_has_a_version(image: str) -> None:
    with pytest.raises(SettingsError, match="image"):
        planned({**SPEECH, "image": image})


def test_pooling_takes_no_memory_for_a_sampler() -> None:
    shape = network(load().model("qwen3-embedding-8b"))
    run = EngineRun(
        architecture=shape, version="0.31.0", total_gib=23.5, capability=(8, 9), max_num_seqs=1024, max_model_len=4096,
        warm_compile_cache=True,
    )  # fmt: skip
    pooled = replace(run, pooling=True)
    assert predict(run).activation_gib > predict(pooled).activation_gib
    assert (predict(run).serving_peak_gib > 0, predict(pooled).serving_peak_gib) == (True, 0.0)


def test_one_model_for_speech_may_be_behind_a_gateway() -> None:
    def behind(*models: dict[str, Any]) -> Plan:
        specs = [{"name": f"m{n}", "port": 30080 + n, **model} for n, model in enumerate(models)]
        machine = {"kind": "nvidia", "gpu": "rtx-4060", "gpus": 2, "memoryGiB": 128, "cpus": 16}
        own = {"machine": machine, "cluster": {"driver": "docker"}, "models": specs, "gateway": {"kind": "envoy"}}
        return build_plan(Settings.from_config(own), stack="test")

    small = {**SPEECH, "model": "whisper-small"}
    rerank = {"model": "bge-reranker-v2-m3", "contextTokens": 512}
    plan = behind(SPEECH, rerank)
    assert plan.gateway is not None
    assert [backend.task for backend in plan.gateway.backends] == ["transcription", "rerank"]
    with pytest.raises(PlanError, match="m0 and m1 transcribe speech"):
        behind(SPEECH, small)
