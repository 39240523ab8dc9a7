"""config.json, in the many words of Hugging Face's model types, to an Architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks.errors import CatalogError
from stacks.planning.engines.vllm.memory.architecture import Architecture, Attention, Experts, Layer, State, Vision
from stacks.planning.engines.vllm.memory.hf_kept import kept_of
from stacks.planning.engines.vllm.memory.hf_layers import layers_of
from stacks.planning.engines.vllm.memory.hf_speech import KINDS, read_speech
from stacks.planning.engines.vllm.memory.hf_weights import mixer_weights, weights_of
from stacks.planning.engines.vllm.memory.hf_words import Words

_ENCODERS = (
    "bert",
    "roberta",
    "xlm-roberta",
    "modernbert",
    "nomic_bert",
    "distilbert",
    "deberta-v2",
    "camembert",
    "mpnet",
    "new",
    "gte",
)
_MOST_LAYERS = 10_000
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


# What transformers' configuration classes fill in: config.json leaves out what equals it.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma3_text": {
        "vocab_size": 262208,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131072,
    },
    "llama": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "mistral": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
    },
}


def _text(config: Mapping[str, Any]) -> dict[str, Any]:
    """The language model's own part, with what only the outer map says (tie_word_embeddings, dtype) beneath it."""
    for key in _TEXT:
        inner = config.get(key)
        if isinstance(inner, Mapping) and inner:
            nested = _text(inner)
            return {**{k: v for k, v in config.items() if k not in nested and k not in _TEXT}, **nested}
    if config.get("model_type") == "dbrx":  # attention and experts have maps of their own
        return {**dict(config.get("attn_config") or {}), **dict(config.get("ffn_config") or {}), **config}
    return dict(config)


def read_hf_config(config: Mapping[str, Any]) -> Architecture:
    """Reads a config.json (nested text_config and vision_config too). Raises CatalogError naming the keys that are
    missing.
    """
    if config.get("model_type") in KINDS:
        return read_speech(config)
    words = Words(_text(config))
    kind = str(words.get("model_type") or config.get("model_type") or "").lower()
    if any(isinstance(config.get(key), Mapping) for key in _TEXT):  # only nested maps leave out what equals a default
        words.config = {**_DEFAULTS.get(kind, {}), **{k: v for k, v in words.config.items() if v is not None}}
    listed = (
        words.config.get("layers_block_type")
        or words.config.get("hybrid_override_pattern")
        or words.config.get("layer_types")
    )
    if not words.whole("num_hidden_layers", 0) and isinstance(listed, list | str):
        words.config = {**words.config, "num_hidden_layers": len(listed)}
    # vllm/model_executor/models/config.py Gemma3TextModelConfig: is_causal is the opposite of it; Gemma 4 says "vision"
    encoder = kind in _ENCODERS or words.get("use_bidirectional_attention") is True
    layers_count, hidden = words.need("num_hidden_layers"), words.need("hidden_size")
    vocabulary = words.need("vocab_size")
    heads = words.need("num_attention_heads")
    if layers_count > _MOST_LAYERS:
        words.missing.append("num_hidden_layers")
    if words.missing:
        raise CatalogError(
            f"config.json of a {kind or 'model'} says nothing of: {', '.join(sorted(words.missing))}",
            remedy="give the model's whole config.json, as its repository has it",
        )
    if not words.get("head_dim"):
        words.config = {**words.config, "head_dim": max(1, hidden // heads)}
    experts = _experts(words, layers_count)
    gated = not (kind.startswith(_NO_GATE) and not kind.startswith(("phi3", "phi4", "phimoe", "falcon_h1")))
    intermediate = words.whole("intermediate_size", 4 * hidden)
    if kind == "qwen":  # the first Qwen counts gate and up together
        intermediate //= 2
    layers = (None,) * layers_count if encoder else layers_of(words, kind, layers_count, heads)
    vision, vision_weights = _vision(config)
    linear, router, recurrent = weights_of(words, layers, layers_count, hidden, intermediate, heads, gated, experts)
    kept, recurrent_kept = kept_of(config, words, layers, hidden, heads, experts)
    states = [layer for layer in layers if isinstance(layer, State)]
    attention = next((layer for layer in layers if isinstance(layer, Attention) and layer.kind != "mla"), None)
    return Architecture(
        model_type=kind,
        name=_name(config),
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        vocabulary=vocabulary,
        max_positions=_max_positions(words, kind),
        tied_embeddings=_tied(words, config, kind),
        dtype=str(words.get("dtype") or words.get("torch_dtype") or "bfloat16").removeprefix("torch."),
        layers=layers,
        linear_weights=linear,
        recurrent_weights=recurrent,
        kept_weights=kept,
        recurrent_kept=recurrent_kept,
        router_weights=router,
        vision_weights=vision_weights,
        vision=vision,
        experts=experts,
        gated_mlp=gated,
        qkv_width=_qkv_width(words, attention, heads, hidden),
        attention_copies=2 * heads * attention.head_dim if attention else 0,
        mixer_width=2 * max((s.conv_values // max(1, words.whole("conv_kernel", 4) - 1) for s in states), default=0),
        rotary=_rotary(words),
        rope_tables=2 if words.get("rope_local_base_freq") or kind in ("gemma3_text", "gemma3") else 1,
        mla_context=heads * (words.whole("qk_nope_head_dim", 128) + words.whole("v_head_dim", 128))
        if words.whole("kv_lora_rank", 0)
        else 0,
        layer_weights=_layer_weights(words, layers, hidden, intermediate, heads, gated, experts),
        encoder=encoder,
        unmodelled=_unmodelled(kind, words),
    )


def _qkv_width(words: Words, attention: Attention | None, heads: int, hidden: int) -> int:
    if attention is not None:
        return (heads + 2 * attention.kv_heads) * attention.head_dim
    if words.whole("kv_lora_rank", 0):
        return heads * (words.whole("qk_nope_head_dim", 128) + words.whole("qk_rope_head_dim", 64))
    return 3 * hidden


def _layer_weights(
    words: Words,
    layers: tuple[Layer, ...],
    hidden: int,
    intermediate: int,
    heads: int,
    gated: bool,
    experts: Experts | None,
) -> int:
    """Linear weights of the last attention layer and the MLP or experts behind it."""
    attention = next((layer for layer in reversed(layers) if isinstance(layer, Attention)), None)
    mixer = mixer_weights(attention, words, hidden, heads) if attention else 4 * hidden * hidden
    if experts is not None:
        return mixer + 3 * hidden * (experts.count * experts.intermediate + experts.shared)
    return mixer + (3 if gated else 2) * hidden * intermediate


def _name(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    return str(named[0]) if isinstance(named, list) and named else ""


def _max_positions(words: Words, kind: str) -> int:
    """RoBERTa counts positions from behind its padding token (vllm model_executor/models/roberta.py): those before it
    are no texts' own, and the tokenizers of such checkpoints allow as many less.
    """
    table = words.whole("max_position_embeddings", 4096)
    return table - words.whole("pad_token_id", 1) - 1 if kind in ("roberta", "xlm-roberta", "camembert") else table


def _rotary(words: Words) -> int:
    """Rotated values of a head (0 where positions are learned)."""
    if words.whole("kv_lora_rank", 0):
        return words.whole("qk_rope_head_dim", 64)
    nested = words.get("rope_parameters")
    share = words.get(
        "partial_rotary_factor", nested.get("partial_rotary_factor") if isinstance(nested, Mapping) else None
    )
    return int(words.whole("head_dim", 64) * (share if isinstance(share, int | float) and 0 <= share <= 1 else 1.0))


def _tied(words: Words, config: Mapping[str, Any], kind: str) -> bool:
    value = config.get("tie_word_embeddings", words.get("tie_word_embeddings"))
    return (
        bool(value)
        if isinstance(value, bool)
        else kind.startswith(("gemma", "opt", "gpt2", "cohere", "bert", "bloom", "starcoder2"))
    )


def _unmodelled(kind: str, words: Words) -> tuple[str, ...]:
    said = []
    if kind.startswith(("deepseek_v4", "deepseek_ref")) or words.get("compress_ratios"):
        said.append("compressed attention states of DeepSeek-V4")
    if kind.startswith("minimax_m3"):
        said.append("sparse attention of MiniMax-M3")
    if words.config.get("is_encoder_decoder") or kind in ("t5", "bart", "mllama"):
        said.append("cross attention of encoder-decoder models")
    if words.config.get("block_configs") or kind == "nemotron-nas":
        said.append("layers of unequal shape (Nemotron NAS)")
    return tuple(said)


def _experts(words: Words, layers: int) -> Experts | None:
    count = words.whole("num_experts", 0)
    if count < 2:
        return None
    width = words.whole("moe_intermediate_size", words.whole("intermediate_size", 4 * words.whole("hidden_size", 1)))
    shared = words.whole("shared_expert_intermediate_size", 0) or width * words.whole(
        "n_shared_experts", words.whole("num_shared_experts", 0)
    )
    # one, which config.json does not mention
    if not shared and str(words.get("model_type") or "").startswith("llama4"):
        shared = width
    if not shared and str(words.get("model_type") or "").startswith("gemma4"):  # its MLP runs beside the experts
        shared = words.whole("intermediate_size", 0)
    sparse = layers
    if pattern := words.config.get("hybrid_override_pattern"):
        sparse = str(pattern).count("E")
    elif dense := words.whole("first_k_dense_replace", 0):
        sparse = max(0, layers - dense)
    elif (step := words.whole("decoder_sparse_step", words.whole("interleave_moe_layer_step", 1))) > 1:
        sparse = layers // step
    if isinstance(only := words.config.get("mlp_only_layers"), list):
        sparse = max(0, sparse - len(only))
    return Experts(
        count=count, per_token=words.whole("num_experts_per_tok", 2), intermediate=width, shared=shared, layers=sparse
    )


def _vision(config: Mapping[str, Any]) -> tuple[Vision | None, int]:
    """The encoder and its weights. A tower whose shape config.json leaves open counts as CLIP ViT-L (0.3 G weights)."""
    for key in _VISION:
        inner = config.get(key)
        if isinstance(inner, Mapping) and inner:
            words = Words({**inner, **({"num_hidden_layers": inner["depth"]} if "depth" in inner else {})})
            hidden, depth = (
                words.whole("embed_dim", words.whole("hidden_size", 1024)),
                words.whole("num_hidden_layers", 24),
            )  # Qwen2-VL: hidden_size is the language model's
            wide = words.whole("intermediate_size", int(hidden * float(inner.get("mlp_ratio", 4))))
            merge, out = (
                words.whole("spatial_merge_size", 1),
                words.whole("out_hidden_size", words.whole("hidden_size", 0) if words.whole("embed_dim", 0) else 0),
            )
            gate = 3 if inner.get("model_type") == "qwen2_5_vl" else 2
            merged = hidden * merge * merge
            merger = merged * merged + merged * (out or 0)
            deep = (
                len(inner["deepstack_visual_indexes"]) if isinstance(inner.get("deepstack_visual_indexes"), list) else 0
            )
            heads = words.whole("num_heads", words.whole("num_attention_heads", 16))
            weights = depth * (4 * hidden * hidden + gate * hidden * wide) + merger * (1 + deep)
            return Vision(hidden, wide, depth, heads, words.whole("patch_size", 14), merge), weights
    return None, 0
