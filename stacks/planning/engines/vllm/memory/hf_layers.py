"""Which cache each decoder layer of a config.json has."""

from __future__ import annotations

from collections.abc import Mapping

from stacks.planning.engines.vllm.memory.architecture import Attention, Layer, State
from stacks.planning.engines.vllm.memory.hf_words import Words


def layers_of(words: Words, kind: str, count: int, heads: int) -> tuple[Layer, ...]:
    """One entry a cache, in the order of the layers."""
    names = _names(words, kind, count)
    found: list[Layer] = []
    for name in names:
        found.extend(_caches(name, words, kind, heads))
    if shared := words.whole("num_kv_shared_layers", 0):
        found = found[: max(0, len(found) - shared)] + [None] * min(shared, len(found))
    return tuple(found)


def _names(words: Words, kind: str, count: int) -> list[str]:
    """One word a decoder layer: full, sliding, chunked, linear, mamba, conv, parallel (attention beside Mamba) or
    none.
    """
    config = words.config
    if pattern := config.get("hybrid_override_pattern"):
        letters = {"*": "full", "M": "mamba", "-": "none", "E": "none"}
        return [letters.get(letter, "none") for letter in str(pattern)]
    listed = config.get("layer_types") or config.get("layers_block_type")
    if isinstance(listed, list) and listed:
        return [_word(str(name), words) for name in (listed * count)[:count]]
    if isinstance(config.get("hybrid_layer_pattern"), list):  # MiMo-V2: 1 marks a sliding layer
        return ["sliding" if flag else "full" for flag in config["hybrid_layer_pattern"]][:count]
    if isinstance(config.get("attn_type_list"), list):  # MiniMax-Text-01: 0 marks lightning attention
        return ["full" if flag else "linear" for flag in config["attn_type_list"]][:count]
    if isinstance(linear := config.get("linear_attn_config"), Mapping):  # Kimi-Linear counts layers from 1
        return ["linear" if i + 1 in linear.get("kda_layers", ()) else "full" for i in range(count)]
    if isinstance(indices := config.get("attn_layer_indices"), list):  # Bamba
        return ["full" if i in indices else "mamba" for i in range(count)]
    if period := words.whole("attn_layer_period", 0):  # Jamba
        offset = words.whole("attn_layer_offset", 0)
        return ["full" if i % period == offset else "mamba" for i in range(count)]
    if kind == "falcon_h1":
        return ["parallel"] * count
    if kind.startswith("mamba"):
        return ["mamba"] * count
    interval = words.whole("full_attention_interval", 4)
    if words.config.get("linear_num_value_heads"):
        return ["full" if (i + 1) % interval == 0 else "linear" for i in range(count)]
    return _windowed(words, kind, count)


def _word(name: str, words: Words) -> str:
    if name in ("sliding_attention", "full_attention", "chunked_attention", "attention"):
        word = {"sliding_attention": "sliding", "chunked_attention": "chunked"}.get(name, "full")
        return "full" if word == "sliding" and not words.whole("sliding_window", 0) else word
    if name.startswith("linear"):
        return "linear"
    if name.startswith("mamba") or name == "hybrid":
        return "mamba"
    return {"conv": "conv", "moe": "none", "mlp": "none"}.get(name, "full")


def _windowed(words: Words, kind: str, count: int) -> list[str]:
    """Sliding windows where config.json has no layer_types: by the pattern that each model type is known for."""
    if not words.whole("sliding_window", 0) or words.config.get("use_sliding_window") is False:
        return ["full"] * count
    pattern = words.config.get("sliding_window_pattern", words.config.get("_sliding_window_pattern"))
    if isinstance(pattern, str) and pattern:  # EXAONE 4 writes LLLG
        return ["full" if pattern[i % len(pattern)] == "G" else "sliding" for i in range(count)]
    period = (
        pattern
        if isinstance(pattern, int)
        else {"gemma2": 2, "gpt_oss": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4, "gemma3n_text": 5}.get(kind, 0)
    )
    if period > 1:
        return ["full" if (i + 1) % period == 0 else "sliding" for i in range(count)]
    if words.config.get("use_sliding_window"):  # Qwen2: the layers from max_window_layers on
        return ["sliding" if i >= words.whole("max_window_layers", 0) else "full" for i in range(count)]
    return ["sliding"] * count


def _caches(name: str, words: Words, kind: str, heads: int) -> list[Layer]:
    if name == "none":
        return [None]
    if name == "parallel":
        return [_attention("full", words, kind, heads), _state("mamba", words, heads)]
    if name in ("linear", "mamba", "conv"):
        return [_state(name, words, heads)]
    return [_attention(name, words, kind, heads)]


def _attention(name: str, words: Words, kind: str, heads: int) -> Attention:
    if rank := words.whole("kv_lora_rank", 0):
        width = rank + words.whole("qk_rope_head_dim", 64)
        index = words.whole("index_head_dim", 0)  # fp8 values and one float32 scale for 128 of them
        return Attention("mla", 1, width, 0, indexer_bytes=index + 4 * (index // 128) if index else 0)
    size = words.whole("head_dim", 64)
    kv_heads = words.whole("num_key_value_heads", 1 if words.config.get("multi_query") else heads)
    size_v = words.whole("v_head_dim", size) if kind.startswith("mimo") else size
    if name == "sliding":
        window = words.whole("sliding_window", 0)
        return Attention(
            "sliding",
            words.whole("swa_num_key_value_heads", kv_heads),
            words.whole("swa_head_dim", size),
            words.whole("swa_v_head_dim", size_v),
            window,
        )
    if name == "chunked":
        return Attention("chunked", kv_heads, size, size_v, words.whole("attention_chunk_size", 8192))
    wide = words.whole("global_head_dim", size)
    return Attention(
        "full", words.whole("num_global_key_value_heads", kv_heads), wide, wide if wide != size else size_v
    )


def _state(name: str, words: Words, heads: int) -> State:
    asked = str(words.get("mamba_ssm_dtype") or words.get("mamba_ssm_cache_dtype") or "auto")
    size = 4 if "32" in asked else 2
    linear = words.config.get("linear_attn_config")
    if isinstance(linear, Mapping):  # Kimi-Linear: float32 state, three convolutions over query, key and value
        width = int(linear.get("num_heads", heads)) * int(linear.get("head_dim", 128))
        kernel = int(linear.get("short_conv_kernel_size", 4))
        return State("kda", width * int(linear.get("head_dim", 128)), 3 * width * (kernel - 1), 4, 3 * width)
    kernel = max(1, words.whole("linear_conv_kernel_dim", words.whole("conv_kernel", 4)))
    if name == "linear" and (value_heads := words.whole("linear_num_value_heads", 0)):
        key, value = words.whole("linear_key_head_dim", 128), words.whole("linear_value_head_dim", 128)
        width = 2 * words.whole("linear_num_key_heads", value_heads) * key + value_heads * value
        return State("gdn", value_heads * key * value, width * (kernel - 1), size, width)
    if name == "linear":  # lightning attention keeps one float32 matrix a head
        return State("gdn", heads * words.whole("head_dim", 128) ** 2, 0, 4)
    if name == "conv":  # LFM2
        return State("mamba2", 0, words.whole("hidden_size", 1) * max(1, words.whole("conv_L_cache", 3) - 1), 2)
    inner = words.whole("mamba_num_heads", 0) * words.whole("mamba_head_dim", 64)
    inner = (
        inner
        or words.whole("mamba_d_ssm", 0)
        or words.whole("mamba_expand", words.whole("expand", 2)) * words.whole("hidden_size", 1)
    )
    depth = words.whole("ssm_state_size", 128)
    width = inner + 2 * words.whole("n_groups", 1) * depth
    return State("mamba2", inner * depth, width * (kernel - 1), size, width)
