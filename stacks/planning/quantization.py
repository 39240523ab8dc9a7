"""A checkpoint's quantization in three vocabularies: the catalogue's (vLLM's word), the kernels' (legality.yaml) and the predictor's.

The catalogue's word leaves open what compressed-tensors and fp8 hold; config.json's quantization_config says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks.catalog import Model

_PREDICTED = {"bitsandbytes": "bnb_nf4", "int8": "w8a8_int8"}
_KERNELS = {"fp8_block": "fp8", "w8a8_int8": "int8", "w4a16": "gptq_marlin", "bnb_nf4": "bitsandbytes"}


def predicted(model: Model) -> str:
    """What stacks/planning/fit calls it; `none` for a 16-bit checkpoint."""
    if model.quantization is None:
        return "none"
    config = model.config.get("quantization_config") or {}
    if model.quantization == "fp8":
        return "fp8_block" if config.get("weight_block_size") else "fp8"
    if model.quantization == "compressed-tensors":
        return _scheme(config)
    return _PREDICTED.get(model.quantization, model.quantization)


def kernels(model: Model) -> str | None:
    """The entry of legality.yaml whose kernels vLLM looks for; None for a 16-bit checkpoint."""
    name = predicted(model)
    return None if name == "none" else _KERNELS.get(name, name)


def _scheme(config: Mapping[str, Any]) -> str:
    """compressed-tensors names no scheme: bits and type of the first group's weights and activations make it."""
    group: Mapping[str, Any] = next(iter((config.get("config_groups") or {}).values()), {})
    weights, inputs = group.get("weights") or {}, group.get("input_activations") or {}
    bits, kind = weights.get("num_bits"), weights.get("type")
    if kind == "float":
        return "nvfp4" if bits == 4 else "fp8"
    return "w8a8_int8" if bits == 8 and inputs else "w4a16"
