"""The models: enough of them, shapes that parse, weights that agree with parameters and bits, proposals that exist."""

from __future__ import annotations

import pytest

from stacks.catalog import Model, load
from stacks.catalog.kv import kv_bytes_per_token
from stacks.catalog.schema import text_config
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config

MODELS = load().models
GIB = 2**30
BITS = {
    None: 16.0,
    "awq": 4.16,
    "gptq": 4.16,
    "w4a16": 4.125,
    "fp8": 8.0,
    "fp8_block": 8.0,
    "mxfp4": 4.25,
    "nvfp4": 4.5,
}


def test_the_seeds_models_and_the_common_families_are_there() -> None:
    assert len(MODELS) >= 60
    for name in (
        "phi-3-mini-4k-instruct-awq", "deepseek-r1-distill-qwen-1.5b", "llama-3.1-8b-instruct", "llama-3.2-1b-instruct",
        "llama-3.2-3b-instruct", "mixtral-8x7b-instruct-v0.1-awq", "deepseek-coder-v2-lite-instruct",
        "tinyllama-1.1b-chat", "phi-2",
        "bge-base-en-v1.5", "qwen2.5-7b-instruct", "qwen3-8b", "gemma-3-4b-it", "gpt-oss-20b", "gemma-3-270m",
        "qwen2.5-1.5b-instruct",
    ):  # fmt: skip
        assert name in MODELS
    assert {m.quantization for m in MODELS.values()} >= {None, "awq", "gptq", "fp8", "mxfp4", "w4a16"}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_predictor_reads_the_config_of_every_model(name: str) -> None:
    model = MODELS[name]
    shape = read_hf_config(model.config)
    assert shape.unmodelled == ()
    # Whisper's num_hidden_layers are the encoder's; its decoder has two caches a layer
    layers = 2 * model.config["decoder_layers"] if shape.audio else text_config(model.config)["num_hidden_layers"]
    assert len(shape.layers) == layers
    bidirectional = model.config.get("use_bidirectional_attention", False)
    assert shape.encoder == (bidirectional or model.config["model_type"] in ("bert", "xlm-roberta"))


def _half_precision(model: Model) -> float:
    """Parameters that stay in 16 bit when the linear layers are quantized: embeddings, lm_head, and what a method
    leaves out.
    """
    text = text_config(model.config)
    tied = model.config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
    kept = text["vocab_size"] * text["hidden_size"] * (1 if tied else 2)
    kept += 0.42e9 if "vision_config" in model.config else 0
    kept += read_hf_config(model.config).kept_weights
    if model.quantization == "mxfp4":  # experts only
        heads, head = text["num_attention_heads"] + text["num_key_value_heads"], text["head_dim"]
        kept += text["num_hidden_layers"] * 2 * text["hidden_size"] * heads * head
    return float(kept)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_weights_agree_with_parameters_times_bits(name: str) -> None:
    model = MODELS[name]
    kept = _half_precision(model) if model.quantization else 0.0
    expected = ((model.parameter_count - kept) * BITS[model.quantization] / 8 + kept * 2) / GIB
    # kernels pad what a card was seen to hold
    assert model.weights_gib.value == pytest.approx(expected, rel=0.2 if model.weights_gib.kind == "measured" else 0.15)
    on_disk = expected * (2 if model.checkpoint_dtype == "float32" else 1)
    assert model.download_gib.value == pytest.approx(on_disk, rel=0.15)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_quantized_models_config_says_so_and_others_do_not(name: str) -> None:
    model = MODELS[name]
    assert (model.quantization is not None) == ("quantization_config" in model.config)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_numbers_and_shape_say_where_they_come_from(name: str) -> None:
    model = MODELS[name]
    for source in (model.weights_gib, model.download_gib, model.config_source):
        assert ("from memory" in source.ref or source.ref.startswith("computed")) <= (source.kind == "estimated"), (
            source
        )
    assert model.revision or model.revision_note


def test_a_smaller_model_is_smaller_and_of_the_same_task_and_the_chain_ends() -> None:
    for name, model in MODELS.items():
        seen = {name}
        while model.smaller is not None:
            below = MODELS[model.smaller]
            assert below.weights_gib.value < model.weights_gib.value, name
            assert below.task == model.task or {below.task, model.task} == {"chat", "completion"}, name
            assert model.smaller not in seen
            seen.add(model.smaller)
            model = below  # noqa: PLW2901  (walks down)


def test_siblings_have_the_same_network_in_fewer_bytes() -> None:
    families: dict[str, list[Model]] = {}
    for model in MODELS.values():
        families.setdefault(model.family, []).append(model)
    for members in families.values():
        shapes = [read_hf_config(m.config) for m in members]
        widths = {(shape.hidden, len(shape.layers)) for shape in shapes}
        assert len(widths) == 1
        plain = [m for m in members if m.quantization is None]
        assert len(plain) <= 1
        for quantized in members:
            if plain and quantized.quantization:
                assert quantized.weights_gib.value < plain[0].weights_gib.value


@pytest.mark.parametrize(
    ("name", "bytes_a_token"),
    [  # bytes a token of the KV cache that vLLM's own logs give for these shapes
        ("phi-3-mini-4k-instruct-awq", 393_216),
        ("qwen2.5-0.5b-instruct", 12_288),
        ("qwen2.5-1.5b-instruct", 28_672),
        ("qwen2.5-3b-instruct", 36_864),
        ("qwen2.5-7b-instruct", 57_344),
        ("qwen2.5-14b-instruct", 196_608),
        ("qwen3-0.6b", 114_688),
        ("qwen3-8b", 147_456),
        ("qwen3-14b", 163_840),
        ("qwen3-30b-a3b", 98_304),
        ("llama-3.2-3b-instruct", 114_688),
        ("llama-3.1-8b-instruct", 131_072),
        ("mixtral-8x7b-instruct-v0.1-awq", 131_072),
        ("mistral-7b-instruct-v0.3", 131_072),
        ("mistral-nemo-instruct-2407", 163_840),
        ("tinyllama-1.1b-chat", 22_528),
        ("deepseek-coder-v2-lite-instruct", 31_104),
        ("gpt-oss-20b", 2 * 24_576),
        ("bge-base-en-v1.5", 0),
        ("bge-reranker-v2-m3", 0),
        ("whisper-large-v3-turbo", 4 * 2 * 20 * 64 * 2),  # its decoder's own four layers; the sound is kept beside them
    ],
)
def test_the_kv_cache_costs_what_logs_say(name: str, bytes_a_token: int) -> None:
    assert kv_bytes_per_token(MODELS[name].config) == bytes_a_token


def test_what_vllm_refuses_in_float16_is_marked() -> None:
    for name, model in MODELS.items():
        assert model.float16 == (
            not model.config["model_type"].startswith("gemma3") and model.quantization != "mxfp4"
        ), name
