"""What one token costs of the KV cache, for lists that compare models; a plan counts blocks instead
(stacks/planning/engines/vllm/memory).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks.planning.engines.vllm.memory.architecture import Attention
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config

_HALF_BYTES = 2


def kv_bytes_per_token(config: Mapping[str, Any]) -> int:
    """Bytes of a 16-bit KV cache for one more token of one request on one GPU, while every layer keeps all tokens.

    Layers with a sliding window stop growing at their window, recurrent ones hold a state of fixed size, which is not
    counted, and an encoder keeps nothing; what Whisper keeps of a clip of sound does not grow with its text. Raises
    CatalogError where `config` does not say the shape.
    """
    return sum(
        count * _values(cache) * _HALF_BYTES
        for cache, count in read_hf_config(config).caches
        if isinstance(cache, Attention) and cache.kind != "cross"
    )


def _values(layer: Attention) -> int:
    """Values a token of one layer: a key and a value a head, or one latent that stands for all of them."""
    return layer.head_dim if layer.kind == "mla" else layer.kv_heads * (layer.head_dim + layer.head_dim_v)
