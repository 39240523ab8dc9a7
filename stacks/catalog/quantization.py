"""How a checkpoint keeps its weights: one table of schemes, and which of them a config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scheme:
    """`method` is vLLM's name of the kernels, as in legality.yaml; `size` is bytes of a weight in a linear layer,
    without
    the scales of groups where it is `grouped`. `also` are names for it that checkpoints and reports use.
    """

    method: str
    size: float
    grouped: bool = False
    also: tuple[str, ...] = ()


SCHEMES: Mapping[str, Scheme] = {
    "awq": Scheme("awq", 0.5, grouped=True, also=("awq_marlin", "auto_awq")),
    "gptq": Scheme("gptq", 0.5, grouped=True, also=("gptq_marlin", "auto_gptq")),
    "w4a16": Scheme("gptq_marlin", 0.5, grouped=True, also=("auto-round", "int4")),
    "w8a16": Scheme("gptq_marlin", 1 + 2 / 128),
    "w8a8_int8": Scheme("int8", 1.0, also=("int8",)),
    "fp8": Scheme("fp8", 1.0, also=("fbgemm_fp8",)),
    "fp8_block": Scheme("fp8", 1 + 4 / 128**2),
    "nvfp4": Scheme("nvfp4", 0.5 + 1 / 16, also=("modelopt_fp4", "fp4")),
    "mxfp4": Scheme("mxfp4", 0.5 + 1 / 32),
    "bnb_nf4": Scheme("bitsandbytes", 0.5 + 1 / 16),
    "bnb_int8": Scheme("bitsandbytes", 1.0),
    "gguf_q8_0": Scheme("gguf", 8.5 / 8),
    "gguf_q6_k": Scheme("gguf", 6.5625 / 8),
    "gguf_q5_k_m": Scheme("gguf", 5.7 / 8),
    "gguf_q4_k_m": Scheme("gguf", 4.85 / 8, also=("gguf",)),
    "gguf_q4_0": Scheme("gguf", 4.5 / 8),
}
"""Scheme by its name here; a checkpoint in 16 bit has none."""

SERVED = tuple(name for name, found in SCHEMES.items() if found.method != "gguf")
"""Those of checkpoints in safetensors, which are all that this project serves."""

METHODS = ("awq", "bitsandbytes", "compressed-tensors", "fbgemm_fp8", "fp8", "gptq", "modelopt", "mxfp4")
"""The `quant_method`s of a config.json that `scheme` reads."""

_NAMES = {name: key for key, found in SCHEMES.items() for name in (key, *found.also)}
_FORMATS = {
    "int-quantized": "w8a8_int8",
    "float-quantized": "fp8",
    "naive-quantized": "fp8",
    "nvfp4-pack-quantized": "nvfp4",
}


class UnknownQuantizationError(ValueError):
    """The message is what the checkpoint says."""


def named(word: str) -> str | None:
    """The scheme that vLLM, a checkpoint or a report calls `word`, where that alone makes it."""
    return _NAMES.get(word.lower())


def scheme(config: Mapping[str, Any]) -> str | None:
    """The scheme of a config.json; None for a checkpoint in 16 bit. Raises UnknownQuantizationError."""
    said = config.get("quantization_config") or (config.get("text_config") or {}).get("quantization_config")
    if not isinstance(said, Mapping):
        return None
    method, algorithm = str(said.get("quant_method") or "").lower(), str(said.get("quant_algo") or "")
    if method == "compressed-tensors":
        return _FORMATS.get(str(said.get("format"))) or _by_groups(said)
    if method == "modelopt" or (not method and algorithm):
        found = {"FP8": "fp8", "NVFP4": "nvfp4", "MIXED_PRECISION": _mixed(said)}.get(algorithm)
    elif method == "fp8":
        found = "fp8_block" if said.get("weight_block_size") else "fp8"
    elif method == "bitsandbytes":
        found = "bnb_int8" if said.get("load_in_8bit") else "bnb_nf4"
    else:
        found = named(method) if method in METHODS else None
    if found is None:
        raise UnknownQuantizationError(f"{method} {algorithm}".strip() or "without a quant_method")
    return found


def _mixed(said: Mapping[str, Any]) -> str | None:
    """ModelOpt's table of layers: what has 4 bits in it has its bulk there, attention beside it in 8."""
    algorithms = {str(layer.get("quant_algo")) for layer in (said.get("quantized_layers") or {}).values()}
    return "nvfp4" if any(name.endswith("NVFP4") for name in algorithms) else None


def _by_groups(said: Mapping[str, Any]) -> str:
    """compressed-tensors names no scheme: bits and type of the first group's weights and activations make it."""
    group: Mapping[str, Any] = next(iter((said.get("config_groups") or {}).values()), {})
    weights, inputs = group.get("weights") or {}, group.get("input_activations") or {}
    bits, kind = weights.get("num_bits"), weights.get("type")
    if kind == "float":
        return "nvfp4" if bits == 4 else "fp8"
    return "w4a16" if bits != 8 else "w8a8_int8" if inputs else "w8a16"
