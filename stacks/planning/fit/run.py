"""What is asked and what is answered: one start of one vLLM engine on one kind of card."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stacks.planning.fit.architecture import Architecture

GIB = 2**30
"""Bytes of a GiB. vLLM prints GiB everywhere, even where old logs call it GB."""


@dataclass(frozen=True, kw_only=True)
class Speculation:
    """Speculative decoding: `tokens` proposed a step by `draft` (None: n-gram lookup or another method without weights
    or KV of its own).

    A draft of its own architecture adds its weights and its KV layers; `quantization` and `weights_gib` are as in
    EngineRun. MTP heads and EAGLE heads are drafts of one layer: see `Architecture.draft_head`.
    """

    tokens: int
    draft: Architecture | None = None
    quantization: str | None = None
    weights_gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """One `vllm serve`. None means "vLLM's default" for a flag and "not known" for a fact; memory is GiB, tokens and
    lengths are tokens.

    The card
      total_gib    memory of one card as torch sees it (None: everything that depends on the card is answered as None).
      free_gib     free on the card before the process starts (None: nothing is known to hold memory, but see `wsl2`).
      capability   CUDA compute capability, for example (7, 5); None where not known.
      gpu_name     only told apart for big-card defaults (A100) and unified memory (GB10, Jetson).
      wsl2         the card also draws a Windows desktop.
    The engine
      version      "0.33.0"; engine "V0" or "V1", None = what that version starts on that card.
      quantization a name of stacks/catalog/quantization.py; None in 16 bit.
      checkpoint_gib  size of the checkpoint over all cards, where known: better than any formula from the config.
      kv_cache_memory_gib  `--kv-cache-memory-bytes` per card (vLLM >= 0.10.2): the pool is then exactly this.
      max_loras    0 = LoRA off.
      prefix_caching  None = the version's default. Only Mamba-like layers care (two states a request instead of one).
      multimodal   the encoder is loaded and profiled (False for a text model or `--language-model-only`).
    """

    architecture: Architecture
    version: str
    engine: Literal["V0", "V1"] | None = None
    total_gib: float | None = None
    free_gib: float | None = None
    capability: tuple[int, int] | None = None
    gpu_name: str | None = None
    wsl2: bool = False
    gpu_memory_utilization: float | None = None
    kv_cache_memory_gib: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool = False
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    kv_cache_dtype: str = "auto"
    quantization: str | None = None
    checkpoint_gib: float | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    block_size: int | None = None
    prefix_caching: bool | None = None
    multimodal: bool = False
    max_loras: int = 0
    max_lora_rank: int = 16
    speculation: Speculation | None = None


class Verdict(StrEnum):
    """What the planner may say. Only FITS may be emitted; TOO_CLOSE lies within the error band of a start condition."""

    FITS = "fits"
    REFUSES = "refuses"
    TOO_CLOSE = "too close"


class Condition(StrEnum):
    """vLLM's start conditions, in the order in which it meets them."""

    LOAD = "weights do not fit on the card"
    FREE_MEMORY = "free memory at start is below the budget"
    PROFILE = "the profiling run needs more than the card has"
    NO_KV = "nothing of the budget is left for the KV cache"
    KV_TOO_SMALL = "the KV cache is too small for one request of max_model_len tokens"
    STATES = "fewer blocks than sequences, each of which needs one for its recurrent state"
    AFTER_KV = "memory used after the KV cache was reserved does not fit beside it"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What vLLM will do, per card. GiB; None = cannot be known from what the run says.

    verdict        three-valued, from the margins and the band; `fits` is the two-valued call that is made even where it
    is close.
    failed         the first start condition that fails (or is closest, where TOO_CLOSE), `sentence` what vLLM would
    print then.
    budget_gib     utilization x total.
    weights_gib, activation_gib, non_torch_gib, graphs_estimate_gib   what the budget pays for before the KV cache.
    kv_gib         "Available KV cache memory" (may be negative); kv_needed_gib: one request of max_model_len tokens.
    kv_tokens      "GPU KV cache size" as this version prints it; concurrency: "Maximum concurrency for ... tokens per
    request".
    largest_len    largest max_model_len that the pool holds (vLLM's own estimate), 0 where none; not capped by the
    model.
    outside_gib    held on the card beside the budget: CUDA context, NCCL, real CUDA graphs, lazily made workspaces.
    in_use_gib     what the card will hold once the engine serves: budget (or its parts) + outside.
    margin_gib     distance to the nearest start condition that fails or would fail first (negative: it fails).
    band_gib       half width of the error band of `kv_gib`: in nine of ten cases the truth lies within it.
    kv_tokens, concurrency and largest_len are None as well where the network is one whose pages are not modelled.
    notes          what was assumed, and what is not modelled.
    """

    verdict: Verdict
    fits: bool
    failed: Condition | None
    sentence: str | None
    budget_gib: float | None
    weights_gib: float
    activation_gib: float
    non_torch_gib: float
    graphs_estimate_gib: float
    kv_gib: float | None
    kv_needed_gib: float
    kv_tokens: int | None
    concurrency: float | None
    largest_len: int | None
    outside_gib: float
    in_use_gib: float | None
    margin_gib: float | None
    band_gib: float
    notes: tuple[str, ...] = ()
