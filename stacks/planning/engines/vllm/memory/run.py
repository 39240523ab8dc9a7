"""What is asked and what is answered: one start of one vLLM engine on one kind of card."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from stacks.planning.engines.vllm.memory.architecture import Architecture

GIB = 2**30
"""Bytes of a GiB. vLLM prints GiB everywhere, even where old logs call it GB."""


@dataclass(frozen=True, kw_only=True)
class Speculation:
    """Speculative decoding: `tokens` proposed a step by `draft` (None: n-gram lookup or another method without weights
    or KV of its own).

    A draft of its own architecture adds its weights and its KV layers; `quantization` and `weights_gib` are as in
    EngineRun. An EAGLE head is a draft of one layer. `inside` says that EngineRun.checkpoint_gib holds the draft's
    weights too, as the checkpoints with multi-token-prediction heads do; memory.speculative.mtp_head makes such a head.
    """

    tokens: int
    draft: Architecture | None = None
    quantization: str | None = None
    weights_gib: float | None = None
    inside: bool = False


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What earlier starts of the same card and vLLM version printed; memory.learning.learn makes one. GiB; None = not
    measured.

    offset_gib    KV cache that vLLM printed less what was predicted with the parts below in place: the machine's own.
    starts        starts that offset_gib is the mean of; cards: how many each of them ran on.
    model         EngineRun.model_key of those starts; other models keep the offset and have a wider band.
    weights_gib, activation_gib, non_torch_gib   parts that take the place of the computed ones, for the same model
                  only; the activation is of a start with the same numbers of requests and tokens a step.
    graphs_gib    what capturing took, likewise.
    context_gib   total less free memory as the engine saw it on an idle card: its CUDA context, the driver, a desktop.
    """

    offset_gib: float | None = None
    starts: int = 1
    cards: int = 1
    model: str | None = None
    weights_gib: float | None = None
    activation_gib: float | None = None
    non_torch_gib: float | None = None
    graphs_gib: float | None = None
    context_gib: float | None = None


Assumed = Literal[
    "free_gib", "version", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens", "enforce_eager"
]
"""Fields of an EngineRun whose value is a guess: each widens the band by what another value would change."""


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """One `vllm serve`. None means "vLLM's default" for a flag and "not known" for a fact; memory is GiB, tokens and
    lengths are tokens.

    The card
      total_gib    memory of one card as torch sees it (None: everything that depends on the card is answered as None).
      free_gib     free on the card when vLLM looks first, its own context made (None: nothing else is known to hold
                   memory, but see `wsl2` and `measured`).
      capability   CUDA compute capability, for example (7, 5); None where not known.
      gpu_name     only told apart for big-card defaults (A100) and unified memory (GB10, Jetson).
      wsl2         the card also draws a Windows desktop.
    The engine
      version      "0.33.0"; below 0.10.2 an OldVersionError. Only the V1 engine is known.
      quantization a name of stacks/catalog/quantization.py; None in 16 bit.
      checkpoint_gib  size of the checkpoint over all cards, where known: better than any formula from the config.
      kv_cache_memory_gib  `--kv-cache-memory-bytes` per card: the pool is then exactly this.
      max_loras    0 = LoRA off.
      prefix_caching  None = the version's default. Only Mamba-like layers care (two states a request instead of one).
      multimodal   the encoder is loaded and profiled (False for a text model or `--language-model-only`).
      pooling      hidden states are the answer: no sampler, and nothing that only text has.
      warm_compile_cache  False where torch.compile runs in this start, which has a peak of its own.
      prompt_logprobs  requests may ask for them, as the API allows: their peak is counted beside the KV cache. False
                   answers only whether the engine starts.
    What is known
      assumed      fields whose value is a guess.
      measured     what earlier starts on this machine printed.
    """

    architecture: Architecture
    version: str
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
    pooling: bool = False
    max_loras: int = 0
    max_lora_rank: int = 16
    speculation: Speculation | None = None
    warm_compile_cache: bool = False
    prompt_logprobs: bool = True
    assumed: frozenset[Assumed] = frozenset()
    measured: Measured | None = None

    @property
    def cards(self) -> int:
        """Cards that the engine spans."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def model_key(self) -> str:
        """What makes two starts the same model to `Measured`."""
        shape, cards = self.architecture, f"{self.tensor_parallel}x{self.pipeline_parallel}"
        return f"{shape.name} {len(shape.layers)}x{shape.hidden} {self.quantization} on {cards}"

    @property
    def offset_gib(self) -> float | None:
        """The machine's own, where it was measured with as many cards."""
        measured = self.measured
        return measured.offset_gib if measured is not None and measured.cards == self.cards else None

    @property
    def same_model(self) -> Measured | None:
        """`measured` where it is of this model."""
        return self.measured if self.measured is not None and self.measured.model == self.model_key else None


class Verdict(StrEnum):
    """What the planner may say.

    FITS: it starts, wrong at most once in a hundred. TOO_CLOSE: a start condition lies within the error band. REFUSES:
    a start condition fails by more than the band.
    """

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
    outside_gib    held on the card beside the budget: CUDA context, NCCL, real CUDA graphs.
    serving_peak_gib  what one step with `prompt_logprobs` takes beside everything else; 0 where the run has none. It is
    in in_use_gib and in the verdict.
    in_use_gib     what the card will hold once the engine serves: budget (or its parts) + outside + serving peak.
    margin_gib     distance to the nearest start condition that fails or would fail first (negative: it fails).
    band_gib       half width of the error band of `kv_gib`: of a hundred machines, 95 show no less than kv_gib - band.
    band_parts     (what is not known, its half width in GiB): their root of squares is band_gib.
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
    serving_peak_gib: float = 0.0
    band_parts: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()
