"""The keys of config.json under the many names that Hugging Face's model types give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALIASES = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "hidden_size": ("n_embd", "d_model"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_kv_heads", "kv_n_heads", "multi_query_group_num", "n_head_kv", "num_query_groups"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size", "d_ff", "intermediate_dim"),
    "max_position_embeddings": (
        "n_positions",
        "n_ctx",
        "seq_length",
        "max_seq_len",
        "max_sequence_length",
        "model_max_length",
    ),
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


_LARGEST = 1 << 40  # nothing in a config.json is larger; NaN and infinity are not below it


class Words:
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
        return (
            int(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LARGEST
            else default
        )

    def need(self, key: str) -> int:
        value = self.whole(key, 0)
        if value <= 0:
            self.missing.append(key)
        return max(1, value)
