"""The peak of the profiling run: the largest of its phases, not their sum (profile_run of v1/worker/gpu_model_runner.py
and of v1/worker/gpu/model_runner.py), and what further steps take once the engine serves.
"""

from __future__ import annotations

from typing import Literal

from stacks.planning.engines.vllm.memory.architecture import Attention, Vision
from stacks.planning.engines.vllm.memory.constants import constant
from stacks.planning.engines.vllm.memory.resolved import Resolved
from stacks.planning.engines.vllm.memory.run import GIB, EngineRun

_HALF = 2
_CHUNK = 1024  # rows of v1/worker/gpu/sample/prompt_logprob.py CHUNK_SIZE
_MLA_ROWS = 64 * 1024
_REJECTION_BYTES = 6  # a logit: V1's profiling run has two rows a request more for the rejection sampler, and its copy
_PROMPT_BYTES = {"float16": 6, "bfloat16": 10, "float32": 8}
"""Bytes a logit of V1's prompt_logprobs: the logits and their log_softmax in float32, which torch computes from a
float32 copy but for float16 (aten/src/ATen/native/SoftMax.cpp).
"""
Sampler = Literal["sort", "triton", "flashinfer", "second"]


def sampler_of(run: EngineRun, resolved: Resolved) -> Sampler:
    """Which top-k/top-p code the profiling run meets (v1/sample/ops/topk_topp_sampler.py).

    FlashInfer's is the default since 0.22 where its attention supports the card: compute capability 7.5, since 0.24
    8.0. The V2 runner's profiling run leaves top-k and top-p out.
    """
    rules = resolved.rules
    if resolved.second:
        return "second"
    least = (8, 0) if rules.version >= (0, 24, 0) else (7, 5)
    if rules.flashinfer_sampler and (run.capability is None or run.capability >= least):
        return "flashinfer"
    return "triton" if rules.triton_sampler and resolved.seqs >= 8 else "sort"


def library_gib(capability: tuple[int, int] | None) -> float:
    """cuBLAS' workspace, which torch allocates (aten/src/ATen/cuda/CublasHandlePool.cpp): 32 MiB since Hopper, else
    8.125.
    """
    return (32.0 if capability is not None and capability[0] >= 9 else 8.125) / 1024


def forward_gib(run: EngineRun, resolved: Resolved) -> float:
    """One forward pass over max_num_batched_tokens tokens: the larger of MLP and attention beside the hidden states
    that live across them, for MLA what its prefill projects up, for experts their workspaces.
    """
    shape, ranks = run.architecture, run.tensor_parallel
    hidden = constant("forward.hiddenCopies") * shape.hidden
    if shape.model_type.startswith("gemma"):
        hidden += constant("forward.gemmaCopies") * shape.hidden
    mlp = (3 if shape.gated_mlp else 2) * shape.intermediate / ranks
    attention = (shape.qkv_width + shape.attention_copies + shape.mixer_width) / ranks
    workspace = 0.0
    if shape.experts is not None:
        each = shape.experts.intermediate / ranks
        workspace = shape.experts.per_token * (max(each, shape.hidden) + max(2 * each, shape.hidden))
        mlp = 3 * shape.experts.shared / ranks + (0.0 if resolved.rules.moe_workspace else workspace)
    if not resolved.rules.moe_workspace:
        workspace = 0.0
    values = resolved.batched * (max(mlp, attention) + hidden + workspace)
    return (values + mla_values(run, resolved)) * resolved.value_bytes / GIB


def mla_values(run: EngineRun, resolved: Resolved) -> float:
    """Values of the context that MLA's prefill projects up at most (determine_chunked_prefill_workspace_size)."""
    if not run.architecture.mla_context or not resolved.rules.mla_prefill:
        return 0.0
    return _mla_rows(resolved) * run.architecture.mla_context / run.tensor_parallel


def _mla_rows(resolved: Resolved) -> int:
    seqs, block = resolved.seqs, resolved.block
    return max(min(max(8 * resolved.max_model_len, 4 * seqs * block), _MLA_ROWS), seqs * block)


def mla_workspace_gib(run: EngineRun, resolved: Resolved) -> float:
    """The latents of that context: a buffer that is made after the KV cache (MLACommonMetadataBuilder)."""
    latents = (layer for layer, _ in run.architecture.caches if isinstance(layer, Attention) and layer.kind == "mla")
    width = max((layer.head_dim for layer in latents), default=0)
    return _mla_rows(resolved) * width * resolved.value_bytes / GIB


def sampling_gib(run: EngineRun, resolved: Resolved) -> float:
    """One sampler step over max_num_seqs rows of logits, beside the hidden states of the step before. Logits are
    gathered on every rank.
    """
    shape = run.architecture
    if run.pooling:  # all hidden states of a step and a copy in float32 (v1/worker/gpu/pool/pooling_runner.py)
        return resolved.batched * shape.hidden * (resolved.value_bytes + 4) / GIB
    if shape.encoder:
        return 0.0
    logit = constant(f"sampler.{sampler_of(run, resolved)}Bytes")
    if run.speculation is not None and not resolved.second:
        logit += _REJECTION_BYTES
    hidden = resolved.batched * shape.hidden * resolved.value_bytes
    return (resolved.seqs * shape.vocabulary * logit + hidden) / GIB


def compile_gib(run: EngineRun) -> float:
    """What torch.compile takes where its cache is cold: an embedding table and a little more."""
    if run.enforce_eager or run.warm_compile_cache or run.architecture.encoder:
        return 0.0
    table = run.architecture.vocabulary * run.architecture.hidden * _HALF / run.tensor_parallel / GIB
    return table + constant("compile.besideTableGiB")


def encoder_gib(run: EngineRun, resolved: Resolved) -> float:
    """The image encoder over as many of its largest images as one step may hold (multimodal/encoder_budget), and their
    outputs.

    The budget is max(batched, tokens of one image) language-model tokens; each of those stands for merge^2 patches (16
    where a pooling projector follows, as in Gemma 3).
    """
    if run.multimodal and (audio := run.architecture.audio):
        # as many clips as one step may hold, the widest of MLP and convolution beside the hidden states
        width = 2 * audio.intermediate + constant("forward.encoderCopies") * audio.hidden
        clips = max(1, min(resolved.batched // audio.positions, resolved.seqs))
        return clips * audio.positions * (width + 2 * audio.hidden) * _HALF / GIB
    vision = run.architecture.vision
    if vision is None or not run.multimodal:
        return 0.0
    tokens, patches_a_token = _image_tokens(vision, resolved.batched)
    width = 2 * vision.intermediate + constant("forward.encoderCopies") * vision.hidden
    return (tokens * patches_a_token * width + tokens * run.architecture.hidden) * _HALF / GIB


def _image_tokens(vision: Vision, batched: int) -> tuple[float, float]:
    if vision.merge > 1:
        return max(batched, constant("forward.imageTokens")), vision.merge**2
    return max(batched - batched % 256, 256), 16 if vision.patch == 14 and vision.hidden > 1024 else 1


def warmup_gib(run: EngineRun, resolved: Resolved) -> float:
    """What the sampler's warm-up takes after the KV cache was reserved: an error there is an out-of-memory crash.

    V1 runs the profiling run's sampler step again, the V2 runner one with every sampling parameter in use.
    """
    if run.architecture.encoder or run.pooling:
        return 0.0
    kind = "secondWarmup" if resolved.second else sampler_of(run, resolved)
    return resolved.seqs * run.architecture.vocabulary * constant(f"sampler.{kind}Bytes") / GIB


def serving_peak_gib(run: EngineRun, resolved: Resolved) -> float:
    """What one step with `prompt_logprobs` takes, beside what the profiling run kept room for.

    V1 (gpu_model_runner.py _get_prompt_logprobs_dict): the logits of all prompt tokens of a step, and what log_softmax
    makes of them. V2 (gpu/sample/prompt_logprob.py): chunks of 1024 rows in the activation's type, two of them alive at
    once. Memory that the step before has freed is in pieces, so that all of it is new: 2 x 250 MiB for Llama-3.1-8B and
    1.0 GiB for Gemma-3-1b were seen. These torch calls alone, torch 2.11 on an H100: 10.0 bytes a logit in bfloat16 and
    6.04 in float16 (V1), 2.00 chunks (V2).
    """
    if run.architecture.encoder or run.pooling or not run.prompt_logprobs:
        return 0.0
    if resolved.second:
        rows = min(resolved.batched, _CHUNK) * (2 if resolved.batched > _CHUNK else 1)
        return rows * run.architecture.vocabulary * resolved.value_bytes / GIB
    return resolved.batched * run.architecture.vocabulary * _PROMPT_BYTES.get(resolved.dtype, 10) / GIB
