"""What a quantized checkpoint keeps in 16 bit, as far as its own config.json lists it: attention, recurrent mixers,
shared experts. NVIDIA's NVFP4 checkpoint of Gemma 4 31B keeps all attention, which is more than half of its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stacks.planning.engines.vllm.memory.architecture import Attention, Experts, Layer, State
from stacks.planning.engines.vllm.memory.hf_weights import mixer_weights
from stacks.planning.engines.vllm.memory.hf_words import Words

_LISTS = ("ignore", "exclude_modules", "modules_to_not_convert")
_INDEX = re.compile(r"layers\.([0-9]+)\.")


def kept_of(
    config: Mapping[str, Any], words: Words, layers: Sequence[Layer], hidden: int, heads: int, experts: Experts | None
) -> tuple[int, bool]:
    """(linear weights in 16 bit beside the recurrent mixers, whether all of those are); a list may name each layer, or
    all with a wildcard.
    """
    listed = _listed(config)
    attention = [layer for layer in layers if isinstance(layer, Attention)]
    recurrent = sum(isinstance(layer, State) for layer in layers)
    weights = sum(mixer_weights(layer, words, hidden, heads) for layer in attention)
    kept = _share(listed, r"self_attn(\*|\.\*|$)", len(attention)) * weights
    if experts:
        beside = r"layers\.[^.]+\.mlp" if str(words.get("model_type") or "").startswith("gemma4") else "shared_experts?"
        share = _share(listed, beside + r"(\*|\.\*|$)", experts.layers)
        kept += share * 3 * hidden * experts.shared * experts.layers
    return round(kept), recurrent > 0 and _share(listed, r"linear_attn(\*|\.\*|$)", recurrent) >= 1.0


def _listed(config: Mapping[str, Any]) -> list[str]:
    said = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not isinstance(said, Mapping):
        return []
    return [name for key in _LISTS if isinstance(said.get(key), list) for name in said[key] if isinstance(name, str)]


def _share(listed: Sequence[str], module: str, count: int) -> float:
    """Of `count` layers, how many have `module` in the list."""
    found = [name for name in listed if re.search(module, name)]
    if not found or not count:
        return 0.0
    indices = {match.group(1) for name in found if (match := _INDEX.search(name))}
    return 1.0 if any(not _INDEX.search(name) for name in found) else min(1.0, len(indices) / count)
