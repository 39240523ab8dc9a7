"""How many weights the linear layers of a config.json hold."""

from __future__ import annotations

from stacks.planning.engines.vllm.memory.architecture import Attention, Experts, Layer, State
from stacks.planning.engines.vllm.memory.hf_words import Words


def mixer_weights(layer: Attention | State, words: Words, hidden: int, heads: int) -> int:
    """Linear weights of one attention or recurrent layer."""
    if isinstance(layer, State):
        kernel = max(2, words.whole("linear_conv_kernel_dim", words.whole("conv_kernel", 4)))
        width = layer.conv_values // (kernel - 1)
        if layer.kind == "mamba2":
            inner = layer.ssm_values // max(1, words.whole("ssm_state_size", 128))
            return hidden * (width + inner + words.whole("mamba_num_heads", 0)) + inner * hidden
        if layer.kind == "kda":
            return 4 * hidden * (width // 3)
        value = words.whole("linear_num_value_heads", heads) * words.whole(
            "linear_value_head_dim", words.whole("head_dim", 128)
        )
        return hidden * (width + value + 2 * words.whole("linear_num_value_heads", 0)) + value * hidden
    if layer.kind == "mla":
        nope, rope = words.whole("qk_nope_head_dim", 128), words.whole("qk_rope_head_dim", 64)
        rank, value, query = (
            words.whole("kv_lora_rank", 512),
            words.whole("v_head_dim", 128),
            words.whole("q_lora_rank", 0),
        )
        asked = hidden * query + query * heads * (nope + rope) if query else hidden * heads * (nope + rope)
        return asked + hidden * (rank + rope) + rank * heads * (nope + value) + heads * value * hidden
    gate = 2 if words.config.get("attn_output_gate") else 1
    values = layer.head_dim_v or layer.head_dim
    return (
        hidden * (gate * heads * layer.head_dim + layer.kv_heads * (layer.head_dim + values)) + heads * values * hidden
    )


def weights_of(
    words: Words,
    layers: tuple[Layer, ...],
    count: int,
    hidden: int,
    intermediate: int,
    heads: int,
    gated: bool,
    experts: Experts | None,
) -> tuple[int, int, int]:
    """(weights in linear layers, weights that stay in 16 bit beside embeddings, those of the first in recurrent
    mixers).
    """
    matrices = 3 if gated else 2
    shared_kv = words.whole("num_kv_shared_layers", 0)
    mixers: dict[Attention | State, int] = {}
    total = recurrent = 0
    for layer in layers:
        if layer is not None:
            if layer not in mixers:
                mixers[layer] = mixer_weights(layer, words, hidden, heads)
            total += mixers[layer]
            recurrent += mixers[layer] if isinstance(layer, State) else 0
    if shared_kv and mixers:  # layers that share another's KV still have their query and output projections
        total += shared_kv * 2 * hidden * heads * words.whole("head_dim", 64)
    if not mixers:  # an encoder
        grouped = heads + words.whole("num_key_value_heads", heads)
        total += count * 2 * hidden * grouped * words.whole("head_dim", hidden // heads)
    if pattern := words.config.get("hybrid_override_pattern"):
        dense, sparse = str(pattern).count("-"), str(pattern).count("E")
    else:
        sparse = experts.layers if experts else 0
        dense = count - sparse
    total += dense * matrices * hidden * intermediate
    if experts is None:
        return total, 0, recurrent
    total += sparse * matrices * hidden * (experts.count * experts.intermediate + experts.shared)
    return total, sparse * experts.count * hidden, recurrent
