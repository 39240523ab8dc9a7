"""The config.json of Whisper, whose decoder looks at the encoder's output: to an Architecture.

Read in vLLM 0.32.0 (model_executor/models/whisper.py): each decoder layer has two caches, one of the words so far and
one of what the encoder made of the sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks.errors import CatalogError
from stacks.planning.engines.vllm.memory.architecture import Architecture, Attention, Audio
from stacks.planning.engines.vllm.memory.hf_words import Words

KINDS = ("whisper",)
_KERNEL = 3  # both convolutions before the encoder
_NEEDED = (
    "d_model",
    "decoder_layers",
    "decoder_attention_heads",
    "decoder_ffn_dim",
    "encoder_layers",
    "encoder_ffn_dim",
    "vocab_size",
    "max_source_positions",
    "max_target_positions",
    "num_mel_bins",
)


def read_speech(config: Mapping[str, Any]) -> Architecture:
    """Raises CatalogError naming the keys that are missing."""
    words = Words(config)
    width, layers, heads, wide, encoder_layers, encoder_wide, vocabulary, sounds, texts, bins = (
        words.need(key) for key in _NEEDED
    )
    if words.missing:
        raise CatalogError(
            f"config.json of a {config.get('model_type')} says nothing of: {', '.join(sorted(words.missing))}",
            remedy="give the model's whole config.json, as its repository has it",
        )
    head = max(1, width // heads)
    named = config.get("architectures")
    layer = 8 * width * width + 2 * width * wide  # projections of both attentions, and the MLP
    encoder = encoder_layers * (4 * width * width + 2 * width * encoder_wide)
    return Architecture(
        model_type=str(config.get("model_type")),
        name=str(named[0]) if isinstance(named, list) and named else "",
        hidden=width,
        intermediate=wide,
        heads=heads,
        vocabulary=vocabulary,
        max_positions=texts,
        tied_embeddings=True,
        dtype=str(config.get("torch_dtype") or config.get("dtype") or "float32").removeprefix("torch."),
        layers=(Attention("full", heads, head, head), Attention("cross", heads, head, head)) * layers,
        linear_weights=layers * layer,
        vision_weights=encoder + _KERNEL * width * (bins + width) + (sounds + texts) * width,
        gated_mlp=False,
        qkv_width=3 * width,
        attention_copies=2 * width,
        layer_weights=layer,
        audio=Audio(width, encoder_wide, sounds),
    )
