"""config.json, in the many words of Hugging Face's model types, to an Architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks.errors import CatalogError
from stacks.planning.fit.architecture import Architecture, Attention, Experts, Layer, State, Vision

_ENCODERS = ("bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "distilbert", "deberta-v2", "camembert", "mpnet", "new", "gte")
_TEXT = ("text_config", "llm_config", "language_config", "thinker_config", "language_model")
_VISION = ("vision_config", "vision_tower", "img_processor", "vit_config", "audio_config", "vision_encoder")
_NO_GATE = (
    "phi",
    "gpt2",
    "opt",
    "gpt_neox",
    "gptj",
    "falcon",
    "bloom",
    "starcoder2",
    "gpt_bigcode",
    "mpt",
    "nemotron",
    "nemotron_h",
    "bert",
)
_ALIASES = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "hidden_size": ("n_embd", "d_model"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_kv_heads", "multi_query_group_num", "n_head_kv", "num_query_groups"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "intermediate_dim"),
    "max_position_embeddings": ("n_positions", "n_ctx", "seq_length", "max_seq_len", "max_sequence_length", "model_max_length"),
    "vocab_size": ("padded_vocab_size", "n_vocab"),
    "head_dim": ("kv_channels", "attention_head_dim"),
    "num_experts": ("n_routed_experts", "num_local_experts", "moe_num_experts"),
    "num_experts_per_tok": ("experts_per_token", "moe_top_k", "moe_k", "top_k_experts", "num_experts_per_token"),
    "moe_intermediate_size": ("expert_ffn_hidden_size", "moe_ffn_hidden_size"),
    "shared_expert_intermediate_size": ("moe_shared_expert_intermediate_size", "shared_intermediate_size"),
    "mamba_num_heads": ("mamba_n_heads", "n_mamba_heads"),
    "mamba_head_dim": ("mamba_d_head", "mamba_headdim"),
    "ssm_state_size": ("mamba_d_state", "state_size", "d_state"),
    "n_groups": ("mamba_n_groups", "mamba_ngroups"),
    "conv_kernel": ("mamba_d_conv", "d_conv"),
}


class _Words:
    """A config map with its aliases, which remembers what was asked of it and not there."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self.missing: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        for name in (key, *_ALIASES.get(key, ())):
            value = self.config.get(name)
            if value is not None:
                return value
        return default

    def whole(self, key: str, default: int) -> int:
        """The number at `key`; a list (one a layer) counts as its largest, anything else as absent."""
        value = self.get(key)
        if isinstance(value, list):
            numbers = [v for v in value if isinstance(v, int) and not isinstance(v, bool)]
            value = max(numbers) if numbers else None
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else default

    def need(self, key: str) -> int:
        value = self.whole(key, 0)
        if value <= 0:
            self.missing.append(key)
        return max(1, value)


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    """The language model's own part, with what only the outer map says (tie_word_embeddings, dtype) beneath it."""
    for key in _TEXT:
        inner = config.get(key)
        if isinstance(inner, Mapping) and inner:
            nested = _text(inner)
            return {**{k: v for k, v in config.items() if k not in nested and k not in _TEXT}, **nested}
    return dict(config)


def read(config: Mapping[str, Any]) -> Architecture:
    """See Architecture.from_hf_config."""
    words = _Words(_text(config))
    kind = str(words.get("model_type") or config.get("model_type") or "").lower()
    encoder = kind in _ENCODERS
    layers_count, hidden = words.need("num_hidden_layers"), words.need("hidden_size")
    vocabulary = words.need("vocab_size")
    heads = words.need("num_attention_heads")
    if words.missing:
        raise CatalogError(
            f"config.json of a {kind or 'model'} says nothing of: {', '.join(sorted(words.missing))}",
            remedy="give the model's whole config.json, as its repository has it",
        )
    if not words.get("head_dim"):
        words.config = {**words.config, "head_dim": max(1, hidden // heads)}
    experts = _experts(words, layers_count)
    gated = not (kind.startswith(_NO_GATE) and not kind.startswith(("phi3", "phi4", "phimoe")))
    intermediate = words.whole("intermediate_size", 4 * hidden)
    layers = (None,) * layers_count if encoder else _layers(words, kind, layers_count, heads)
    vision, vision_weights = _vision(config)
    linear, router = _weights(words, layers, layers_count, hidden, intermediate, heads, gated, experts)
    states = [layer for layer in layers if isinstance(layer, State)]
    attention = next((layer for layer in layers if isinstance(layer, Attention) and layer.kind != "mla"), None)
    return Architecture(
        model_type=kind,
        name=_name(config),
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        vocabulary=vocabulary,
        max_positions=words.whole("max_position_embeddings", 4096),
        tied_embeddings=_tied(words, config, kind),
        dtype=str(words.get("dtype") or words.get("torch_dtype") or "bfloat16").removeprefix("torch."),
        layers=layers,
        linear_weights=linear,
        router_weights=router,
        vision_weights=vision_weights,
        vision=vision,
        experts=experts,
        gated_mlp=gated,
        qkv_width=(heads + 2 * attention.kv_heads) * attention.head_dim if attention else 3 * hidden,
        mixer_width=2 * max((s.conv_values // max(1, words.whole("conv_kernel", 4) - 1) for s in states), default=0),
        rotary=_rotary(words),
        encoder=encoder,
        unmodelled=_unmodelled(kind, words),
    )


def _name(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _rotary(words: _Words) -> int:
    """Rotated values of a head (0 where positions are learned)."""
    if words.whole("kv_lora_rank", 0):
        return words.whole("qk_rope_head_dim", 64)
    nested = words.get("rope_parameters")
    share = words.get("partial_rotary_factor", nested.get("partial_rotary_factor") if isinstance(nested, Mapping) else None)
    return int(words.whole("head_dim", 64) * (float(share) if isinstance(share, int | float) else 1.0))


def _tied(words: _Words, config: Mapping[str, Any], kind: str) -> bool:
    value = config.get("tie_word_embeddings", words.get("tie_word_embeddings"))
    return bool(value) if isinstance(value, bool) else kind.startswith(("gemma", "opt", "gpt2", "cohere", "bert"))


def _unmodelled(kind: str, words: _Words) -> tuple[str, ...]:
    said = []
    if kind.startswith(("deepseek_v4", "deepseek_ref")) or words.get("compress_ratios"):
        said.append("compressed attention states of DeepSeek-V4")
    if kind.startswith("minimax_m3"):
        said.append("sparse attention of MiniMax-M3")
    if words.config.get("is_encoder_decoder") or kind in ("whisper", "t5", "bart", "mllama"):
        said.append("cross attention of encoder-decoder models")
    if words.config.get("block_configs") or kind == "nemotron-nas":
        said.append("layers of unequal shape (Nemotron NAS)")
    return tuple(said)


def _experts(words: _Words, layers: int) -> Experts | None:
    count = words.whole("num_experts", 0)
    if count < 2:
        return None
    width = words.whole("moe_intermediate_size", words.whole("intermediate_size", 4 * words.whole("hidden_size", 1)))
    shared = words.whole("shared_expert_intermediate_size", 0) or width * words.whole(
        "n_shared_experts", words.whole("num_shared_experts", 0)
    )
    sparse = layers
    if pattern := words.config.get("hybrid_override_pattern"):
        sparse = str(pattern).count("E")
    elif dense := words.whole("first_k_dense_replace", 0):
        sparse = max(0, layers - dense)
    elif (step := words.whole("decoder_sparse_step", words.whole("interleave_moe_layer_step", 1))) > 1:
        sparse = layers // step
    if isinstance(only := words.config.get("mlp_only_layers"), list):
        sparse = max(0, sparse - len(only))
    return Experts(count=count, per_token=words.whole("num_experts_per_tok", 2), intermediate=width, shared=shared, layers=sparse)


def _layers(words: _Words, kind: str, count: int, heads: int) -> tuple[Layer, ...]:
    names = _names(words, kind, count)
    found: list[Layer] = []
    for name in names:
        found.extend(_caches(name, words, kind, heads))
    if shared := words.whole("num_kv_shared_layers", 0):
        found = found[: max(0, len(found) - shared)] + [None] * min(shared, len(found))
    return tuple(found)


def _names(words: _Words, kind: str, count: int) -> list[str]:
    """One word a decoder layer: full, sliding, chunked, linear, mamba, conv, parallel (attention beside Mamba) or none."""
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


def _word(name: str, words: _Words) -> str:
    if name in ("sliding_attention", "full_attention", "chunked_attention", "attention"):
        word = {"sliding_attention": "sliding", "chunked_attention": "chunked"}.get(name, "full")
        return "full" if word == "sliding" and not words.whole("sliding_window", 0) else word
    if name.startswith("linear"):
        return "linear"
    if name.startswith("mamba") or name == "hybrid":
        return "mamba"
    return {"conv": "conv", "moe": "none", "mlp": "none"}.get(name, "full")


def _windowed(words: _Words, kind: str, count: int) -> list[str]:
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


def _caches(name: str, words: _Words, kind: str, heads: int) -> list[Layer]:
    if name == "none":
        return [None]
    if name == "parallel":
        return [_attention("full", words, kind, heads), _state("mamba", words, heads)]
    if name in ("linear", "mamba", "conv"):
        return [_state(name, words, heads)]
    return [_attention(name, words, kind, heads)]


def _attention(name: str, words: _Words, kind: str, heads: int) -> Attention:
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
    return Attention("full", words.whole("num_global_key_value_heads", kv_heads), wide, wide if wide != size else size_v)


def _state(name: str, words: _Words, heads: int) -> State:
    asked = str(words.get("mamba_ssm_dtype") or words.get("mamba_ssm_cache_dtype") or "auto")
    size = 4 if "32" in asked else 2
    linear = words.config.get("linear_attn_config")
    if isinstance(linear, Mapping):  # Kimi-Linear: float32 state, three convolutions over query, key and value
        width = int(linear.get("num_heads", heads)) * int(linear.get("head_dim", 128))
        kernel = int(linear.get("short_conv_kernel_size", 4))
        return State("kda", width * int(linear.get("head_dim", 128)), 3 * width * (kernel - 1), 4)
    kernel = max(1, words.whole("linear_conv_kernel_dim", words.whole("conv_kernel", 4)))
    if name == "linear" and (value_heads := words.whole("linear_num_value_heads", 0)):
        key, value = words.whole("linear_key_head_dim", 128), words.whole("linear_value_head_dim", 128)
        width = 2 * words.whole("linear_num_key_heads", value_heads) * key + value_heads * value
        return State("gdn", value_heads * key * value, width * (kernel - 1), size)
    if name == "linear":  # lightning attention keeps one float32 matrix a head
        return State("gdn", heads * words.whole("head_dim", 128) ** 2, 0, 4)
    if name == "conv":  # LFM2
        return State("mamba2", 0, words.whole("hidden_size", 1) * max(1, words.whole("conv_L_cache", 3) - 1), 2)
    inner = words.whole("mamba_num_heads", 0) * words.whole("mamba_head_dim", 64)
    inner = inner or words.whole("mamba_d_ssm", 0) or words.whole("mamba_expand", words.whole("expand", 2)) * words.whole("hidden_size", 1)
    depth = words.whole("ssm_state_size", 128)
    return State("mamba2", inner * depth, (inner + 2 * words.whole("n_groups", 1) * depth) * (kernel - 1), size)


def _mixer_weights(layer: Attention | State, words: _Words, hidden: int, heads: int) -> int:
    """Linear weights of one attention or recurrent layer."""
    if isinstance(layer, State):
        kernel = max(2, words.whole("linear_conv_kernel_dim", words.whole("conv_kernel", 4)))
        width = layer.conv_values // (kernel - 1)
        if layer.kind == "mamba2":
            inner = layer.ssm_values // max(1, words.whole("ssm_state_size", 128))
            return hidden * (width + inner + words.whole("mamba_num_heads", 0)) + inner * hidden
        if layer.kind == "kda":
            return 4 * hidden * (width // 3)
        value = words.whole("linear_num_value_heads", heads) * words.whole("linear_value_head_dim", words.whole("head_dim", 128))
        return hidden * (width + value + 2 * words.whole("linear_num_value_heads", 0)) + value * hidden
    if layer.kind == "mla":
        nope, rope = words.whole("qk_nope_head_dim", 128), words.whole("qk_rope_head_dim", 64)
        rank, value, query = words.whole("kv_lora_rank", 512), words.whole("v_head_dim", 128), words.whole("q_lora_rank", 0)
        asked = hidden * query + query * heads * (nope + rope) if query else hidden * heads * (nope + rope)
        return asked + hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden
    gate = 2 if words.config.get("attn_output_gate") else 1
    values = layer.head_dim_v or layer.head_dim
    return hidden * (gate * heads * layer.head_dim + layer.kv_heads * (layer.head_dim + values)) + heads * values * hidden


def _weights(
    words: _Words,
    layers: tuple[Layer, ...],
    count: int,
    hidden: int,
    intermediate: int,
    heads: int,
    gated: bool,
    experts: Experts | None,
) -> tuple[int, int]:
    """(weights in linear layers, weights that stay in 16 bit beside embeddings)."""
    matrices = 3 if gated else 2
    shared_kv = words.whole("num_kv_shared_layers", 0)
    mixers: dict[Attention | State, int] = {}
    total = 0
    for layer in layers:
        if layer is not None:
            if layer not in mixers:
                mixers[layer] = _mixer_weights(layer, words, hidden, heads)
            total += mixers[layer]
    if shared_kv and mixers:  # layers that share another's KV still have their query and output projections
        total += shared_kv * 2 * hidden * heads * words.whole("head_dim", 64)
    if not mixers:  # an encoder
        total += count * 4 * hidden * hidden
    if pattern := words.config.get("hybrid_override_pattern"):
        dense, sparse = str(pattern).count("-"), str(pattern).count("E")
    else:
        sparse = experts.layers if experts else 0
        dense = count - sparse
    total += dense * matrices * hidden * intermediate
    if experts is None:
        return total, 0
    total += sparse * matrices * hidden * (experts.count * experts.intermediate + experts.shared)
    return total, sparse * experts.count * hidden


def _vision(config: Mapping[str, Any]) -> tuple[Vision | None, int]:
    """The encoder and its weights. A tower whose shape config.json leaves open counts as CLIP ViT-L (0.3 G weights)."""
    for key in _VISION:
        inner = config.get(key)
        if isinstance(inner, Mapping) and inner:
            words = _Words({**inner, **({"num_hidden_layers": inner["depth"]} if "depth" in inner else {})})
            hidden, depth = words.whole("hidden_size", words.whole("embed_dim", 1024)), words.whole("num_hidden_layers", 24)
            wide = words.whole("intermediate_size", int(hidden * float(inner.get("mlp_ratio", 4))))
            merge, out = words.whole("spatial_merge_size", 1), words.whole("out_hidden_size", 0)
            gate = 3 if inner.get("model_type") == "qwen2_5_vl" else 2
            merged = hidden * merge * merge
            merger = merged * merged + merged * (out or 0)
            deep = len(inner["deepstack_visual_indexes"]) if isinstance(inner.get("deepstack_visual_indexes"), list) else 0
            heads = words.whole("num_heads", words.whole("num_attention_heads", 16))
            weights = depth * (4 * hidden * hidden + gate * hidden * wide) + merger * (1 + deep)
            return Vision(hidden, wide, depth, heads, words.whole("patch_size", 14), merge), weights
    return None, 0
