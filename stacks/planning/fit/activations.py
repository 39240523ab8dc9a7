"""The peak of the profiling run: the largest of its phases, not their sum (v1/worker/gpu_model_runner.py profile_run)."""

from __future__ import annotations

from typing import Literal

from stacks.planning.fit.architecture import Architecture, Vision
from stacks.planning.fit.constants import constant
from stacks.planning.fit.run import GIB
from stacks.planning.fit.versions import Behaviour

_HALF = 2
Sampler = Literal["sort", "early", "triton", "flashinfer", "none"]


def sampler_of(rules: Behaviour) -> Sampler:
    """Which top-k/top-p kernel the profiling run meets (v1/sample/ops/topk_topp_sampler.py): by version."""
    if rules.v1 and rules.version < (0, 9, 1):
        return "early"
    if not rules.v1 or rules.version < (0, 17, 0):
        return "sort"
    return "triton" if rules.version < (0, 27, 0) else "flashinfer"


def sampler_bytes(kind: Sampler) -> float:
    """Bytes a logit: float32 logits, sorted copies, indices, masks and probabilities, as far as the kernel makes them."""
    return 0.0 if kind == "none" else constant(f"sampler.{kind}Bytes")


def forward_gib(
    shape: Architecture, *, batched: int, tensor_parallel: int, rules: Behaviour, dtype_bytes: int = _HALF
) -> float:
    """One forward pass over `batched` tokens: gate, up and their product, beside the hidden states that live across the
    layer.

    An MoE layer holds them for each of the experts that a token passes (fused_moe workspace), or for its shared experts
    if wider.
    """
    hidden_copies = constant("forward.hiddenCopies" if rules.version >= (0, 7, 0) else "forward.hiddenCopiesBefore07")
    mlp = (3 if shape.gated_mlp else 2) * shape.intermediate / tensor_parallel
    if shape.experts is not None:
        each = shape.experts.intermediate / tensor_parallel
        chosen = shape.experts.per_token * (max(2 * each, shape.hidden) + each)
        mlp = max(chosen, 3 * shape.experts.shared / tensor_parallel)
    width = max(mlp, (shape.qkv_width + shape.mixer_width) / tensor_parallel)
    return batched * dtype_bytes * (width + hidden_copies * shape.hidden) / GIB


def sampling_gib(shape: Architecture, *, seqs: int, batched: int, kind: Sampler, dtype_bytes: int = _HALF) -> float:
    """One sampler step over `seqs` rows of logits, beside the hidden states of the step before. Logits are gathered on
    every rank.
    """
    if shape.encoder or kind == "none":
        return 0.0
    return (seqs * shape.vocabulary * sampler_bytes(kind) + batched * shape.hidden * dtype_bytes) / GIB


def encoder_gib(shape: Architecture, *, batched: int, rules: Behaviour) -> float:
    """The image encoder over as many of its largest images as one step may hold (multimodal/encoder_budget), and their
    outputs.

    The budget is max(batched, tokens of one image) language-model tokens; each of those stands for merge^2 patches (16
    where a pooling projector follows, as in Gemma 3).
    """
    vision = shape.vision
    if vision is None or not rules.v1:
        return 0.0
    tokens, patches_a_token = _image_tokens(vision, batched)
    patches = tokens * patches_a_token
    width = 2 * vision.intermediate + constant("forward.encoderCopies") * vision.hidden
    return (patches * _HALF * width + tokens * shape.hidden * _HALF) / GIB


def _image_tokens(vision: Vision, batched: int) -> tuple[float, float]:
    if vision.merge > 1:
        return max(batched, constant("forward.imageTokens")), vision.merge**2
    return max(batched - batched % 256, 256), 16 if vision.patch == 14 and vision.hidden > 1024 else 1


def warmup_gib(shape: Architecture, *, seqs: int) -> float:
    """What the sampler warm-up copies after the KV cache was reserved (flashinfer_sample): an error there is an
    out-of-memory crash.
    """
    return 0.0 if shape.encoder else seqs * shape.vocabulary * constant("sampler.warmupBytes") / GIB
