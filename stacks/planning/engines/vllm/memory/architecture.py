"""The shape of a network, from config.json in Hugging Face's words to what vLLM allocates for each of its layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

AttentionKind = Literal["full", "sliding", "chunked", "mla", "cross"]
StateKind = Literal["gdn", "kda", "mamba2"]


@dataclass(frozen=True)
class Attention:
    """One attention layer. `kv_heads` before tensor parallelism; `window` in tokens for sliding and chunked layers.

    An MLA layer stores one latent of `head_dim` values a token (kv_lora_rank + qk_rope_head_dim), never divided by
    tensor parallelism; with sparse attention (DeepSeek-V3.2) an index of `indexer_bytes` a token beside it. A cross
    layer keeps what an encoder made of one request's sound, whatever the length of its text.
    """

    kind: AttentionKind
    kv_heads: int
    head_dim: int
    head_dim_v: int
    window: int | None = None
    indexer_bytes: int = 0


@dataclass(frozen=True)
class State:
    """One layer with a recurrent state of fixed size a request: `ssm_values` and `conv_values` over all ranks.

    `state_bytes` is the size of an SSM value; convolution values have the activation's size.
    """

    kind: StateKind
    ssm_values: int
    conv_values: int
    state_bytes: int
    conv_width: int = 0
    """Values that the convolution keeps for each further position: speculative decoding adds one a draft token."""


Layer = Attention | State | None
"""None: a layer without a cache (MLP or MoE of a hybrid, encoder layer, layer that shares another's KV)."""


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: `count` of `intermediate` width each, `shared` the summed width of those that every token
    passes.
    """

    count: int
    per_token: int
    intermediate: int
    shared: int
    layers: int


@dataclass(frozen=True)
class Vision:
    """An image encoder: what it takes to profile it. `patch` is the side of a patch in pixels."""

    hidden: int
    intermediate: int
    depth: int
    heads: int
    patch: int
    merge: int


@dataclass(frozen=True)
class Audio:
    """An encoder of speech: `positions` are what it makes of one clip of 30 seconds."""

    hidden: int
    intermediate: int
    positions: int


@dataclass(frozen=True)
class Architecture:
    """A network as vLLM sees it. Widths are values, not bytes; `layers` has one entry a cache that a decoder layer
    might hold, in order.
    """

    model_type: str
    name: str
    """The first of `architectures`, for example Qwen3ForCausalLM."""
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    max_positions: int
    tied_embeddings: bool
    dtype: str
    layers: tuple[Layer, ...]
    linear_weights: int
    """Weights in linear layers of the decoder: what a quantization makes smaller, experts included."""
    recurrent_weights: int = 0
    """Those of them that lie in recurrent mixers, which NVFP4 checkpoints keep partly in 8 or 16 bit."""
    kept_weights: int = 0
    """Linear weights beside them that the checkpoint's own list keeps in 16 bit."""
    recurrent_kept: bool = False
    """Whether that list keeps all recurrent mixers, so that nothing about them is unknown."""
    router_weights: int = 0
    """Weights of routers and other small parts that stay in 16 bit."""
    vision_weights: int = 0
    """Weights of the image or audio encoder, in 16 bit in all but a few checkpoints."""
    vision: Vision | None = None
    audio: Audio | None = None
    experts: Experts | None = None
    gated_mlp: bool = True
    qkv_width: int = 0
    """Values a token of one layer's fused query, key and value projection."""
    attention_copies: int = 0
    """Values a token that attention holds beside them: rotated queries and the output (0 for MLA)."""
    mixer_width: int = 0
    """Values a token that the widest recurrent layer holds at once (0: there is none)."""
    rotary: int = 0
    """Values of a head that are rotated by position."""
    rope_tables: int = 1
    """Tables of `rotary` values a position: Gemma 3 has one for sliding and another for full attention."""
    mla_context: int = 0
    """Values a token that MLA's prefill projects up: heads x (qk_nope_head_dim + v_head_dim); 0 without MLA."""
    layer_weights: int = 0
    """Linear weights of one attention layer with its MLP or experts: what a multi-token-prediction head has beside its
    projection.
    """
    encoder: bool = False
    unmodelled: tuple[str, ...] = ()
    """What of this network vLLM allocates in a way that this package does not follow."""

    def __hash__(self) -> int:
        """Cheap, because predictions are remembered by their run: equal networks have equal names and widths."""
        return hash((self.name, self.model_type, self.hidden, self.linear_weights, self.vocabulary, len(self.layers)))

    @cached_property
    def caches(self) -> tuple[tuple[Attention | State, int], ...]:
        """The kinds of cache and how many layers have each, in order of first appearance."""
        return tuple(Counter(layer for layer in self.layers if layer is not None).items())
