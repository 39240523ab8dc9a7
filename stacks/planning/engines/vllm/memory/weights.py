"""Weights as they lie on a card: from the checkpoint's size where it is known, else from the config and the
quantization.
"""

from __future__ import annotations

from math import ceil

from stacks.catalog.quantization import SCHEMES
from stacks.planning.engines.vllm.memory.architecture import Architecture
from stacks.planning.engines.vllm.memory.constants import constant
from stacks.planning.engines.vllm.memory.run import GIB, EngineRun

_HALF = 2.0  # bytes of a bfloat16 or float16 value
_MARLIN_PADDED = "mxfp4"


def bytes_per_weight(quantization: str | None, dtype_bytes: float = _HALF) -> float:
    """Bytes of a weight in a linear layer, its share of scales and zero points included; a scheme that nobody knows
    counts as none.
    """
    found = SCHEMES.get(quantization or "")
    return found.size + found.grouped * constant("weights.groupScalesBytes") if found else dtype_bytes


def weights_gib(run: EngineRun) -> float:
    """GiB of weights on one card, rotary tables included; the draft model's and the adapters' are apart."""
    if run.checkpoint_gib is not None:
        return run.checkpoint_gib / (run.tensor_parallel * run.pipeline_parallel)
    size = 4.0 if run.dtype == "float32" else _HALF
    return _network_gib(
        run.architecture,
        quantization=run.quantization,
        tensor_parallel=run.tensor_parallel,
        pipeline_parallel=run.pipeline_parallel,
        dtype_bytes=size,
        vision=run.multimodal or run.architecture.vision is not None,
    )


def draft_gib(run: EngineRun) -> float:
    """GiB of the draft model's weights on one card; drafts run with the target's tensor parallelism."""
    speculation = run.speculation
    if speculation is None or speculation.draft is None or (speculation.inside and run.checkpoint_gib is not None):
        return 0.0
    if speculation.weights_gib is not None:
        return speculation.weights_gib / run.tensor_parallel
    return _network_gib(
        speculation.draft,
        quantization=speculation.quantization,
        tensor_parallel=run.tensor_parallel,
        pipeline_parallel=1,
        dtype_bytes=_HALF,
        vision=False,
    )


def unknown_gib(run: EngineRun) -> float:
    """Half width of what the weights may be off, GiB on one card.

    A checkpoint's size is what is loaded, but for workspaces of its kernels. Without it a 16-bit network is known but
    for small parts; of a quantized one each producer keeps other parts in 16 bit, of recurrent mixers above all.
    """
    if run.checkpoint_gib is not None:
        return constant("bandWeights.checkpointShare") * weights_gib(run)
    if run.quantization is None:
        return constant("bandWeights.halfShare") * weights_gib(run)
    share = "fp8Share" if run.quantization.startswith(("fp8", "w8")) else "smallShare"
    known = constant(f"bandWeights.{share}") * weights_gib(run)
    each = max(0.0, _HALF - bytes_per_weight(run.quantization))
    _, doubt = _kept(run.architecture, run.quantization)
    mixers = doubt * run.architecture.recurrent_weights * each
    return known + mixers / (run.tensor_parallel * run.pipeline_parallel) / GIB


def _kept(shape: Architecture, quantization: str | None) -> tuple[float, float]:
    """The share of recurrent mixers that the checkpoint keeps in 16 bit, and its half width."""
    if quantization is None:
        return 0.0, 0.0
    if shape.recurrent_kept:
        return 1.0, 0.0
    kind = "Fp8" if quantization.startswith(("fp8", "w8")) else ""
    return constant(f"weights.recurrentKept{kind}"), constant(f"bandWeights.recurrentKept{kind}")


def _network_gib(
    shape: Architecture,
    *,
    quantization: str | None,
    tensor_parallel: int,
    pipeline_parallel: int,
    dtype_bytes: float,
    vision: bool,
) -> float:
    embedding = shape.vocabulary * shape.hidden
    # GGUF quantizes embeddings as well; every other method leaves them and the output head in 16 bit.
    embedding_bytes = bytes_per_weight(quantization) if (quantization or "").startswith("gguf") else dtype_bytes
    tables = 1 if shape.tied_embeddings or pipeline_parallel > 1 or shape.encoder else 2
    total = _linear_bytes(shape, quantization, tensor_parallel, dtype_bytes) / pipeline_parallel
    total += tables * embedding * embedding_bytes
    total += shape.router_weights * dtype_bytes / pipeline_parallel
    total += shape.vision_weights * dtype_bytes if vision else 0.0
    rope = shape.max_positions * shape.rotary * shape.rope_tables * constant("weights.ropeBytes")
    return (total / tensor_parallel + rope) / GIB


def _linear_bytes(shape: Architecture, quantization: str | None, tensor_parallel: int, dtype_bytes: float) -> float:
    """Bytes of all linear layers over the ranks of one tensor-parallel group."""
    if quantization != _MARLIN_PADDED or shape.experts is None:
        each = bytes_per_weight(quantization, dtype_bytes)
        share, _ = _kept(shape, quantization)
        kept = shape.kept_weights + share * shape.recurrent_weights
        return shape.linear_weights * each + kept * max(0.0, dtype_bytes - each)
    experts = shape.experts  # MXFP4 checkpoints quantize the experts alone, and the kernels want padded widths
    plain = experts.layers * experts.count * 3 * shape.hidden * experts.intermediate
    wide = _up(shape.hidden, constant("weights.mxfp4PadWidth"))
    narrow = _up(experts.intermediate / tensor_parallel, constant("weights.mxfp4PadExpert")) * tensor_parallel
    padded = experts.layers * experts.count * 3 * wide * narrow
    return padded * bytes_per_weight(quantization) + (shape.linear_weights - plain) * dtype_bytes


def _up(value: float, step: float) -> float:
    return ceil(value / step) * step
