"""What vLLM does with a card's memory: a first, plain model of the V1 engine (vLLM 0.20 and later), one GPU an engine.

budget = utilization x total; KV cache = budget - weights - activation peak - non-torch - CUDA graph estimate. The engine starts if one
request of max_model_len tokens fits into the KV cache. Source: vLLM v1/worker/gpu_worker.py, v1/core/kv_cache_utils.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from stacks.catalog import Catalog, Model

GIB = 2**30
_HALF_BYTES = 2  # bytes of a float16 or bfloat16 value


@dataclass(frozen=True)
class KvShape:
    """How vLLM pages the KV cache of one model. `block` and `in_flight` are tokens; `in_flight` is what the scheduler may have running."""

    full_groups: int
    sliding_groups: int
    block_bytes: int
    block: int
    window: int | None
    in_flight: int

    def blocks_per_request(self, tokens: int) -> int:
        """Blocks that one request of `tokens` tokens holds, over all groups of layers."""
        full = self.full_groups * ceil(tokens / self.block)
        if self.window is None:
            return full
        kept = min(self.window - 1 + self.in_flight, tokens)
        return full + self.sliding_groups * (ceil(kept / self.block) + 1)

    def needed_gib(self, tokens: int) -> float:
        """GiB of KV cache for one request of `tokens` tokens."""
        return self.blocks_per_request(tokens) * self.block_bytes / GIB

    def concurrency(self, kv_gib: float, tokens: int) -> float:
        """How many requests of `tokens` tokens `kv_gib` GiB hold at once, as vLLM prints it."""
        return floor(kv_gib * GIB / self.block_bytes) / self.blocks_per_request(tokens)


def kv_shape(model: Model, *, block: int, max_num_batched_tokens: int, batches_in_flight: int) -> KvShape:
    """The paging of `model`: layers of one type form groups of equal size (vLLM's get_kv_cache_groups)."""
    geometry = model.geometry
    counts = [n for n in (geometry.layer_types.full, geometry.layer_types.sliding) if n]
    group = min(counts)
    if max(counts) < 1.5 * group:  # vLLM pads the smaller type rather than making many groups
        group = max(counts)
    page = block * 2 * geometry.key_value_heads * geometry.head_dim * _HALF_BYTES  # keys and values
    return KvShape(
        full_groups=ceil(geometry.layer_types.full / group),
        sliding_groups=ceil(geometry.layer_types.sliding / group),
        block_bytes=page * group,
        block=block,
        window=geometry.sliding_window if geometry.layer_types.sliding else None,
        in_flight=max_num_batched_tokens * batches_in_flight,
    )


def activation_gib(model: Model, *, max_num_batched_tokens: int, max_num_seqs: int, catalog: Catalog) -> float:
    """Peak of the profiling run in GiB: the larger of one forward pass and one sampler step (phases, so not their sum)."""
    geometry = model.geometry
    forward = max_num_batched_tokens * _HALF_BYTES * (3 * geometry.intermediate_size + 4 * geometry.hidden_size)
    if model.quantization == "awq":  # the plain kernel dequantises one gate-up matrix at a time
        forward += 2 * geometry.intermediate_size * geometry.hidden_size * _HALF_BYTES
    sampler = max_num_seqs * geometry.vocab_size * catalog.number("gpuEngine.samplerBytesPerLogit")
    return max(forward, sampler) / GIB


def loaded_weights_gib(model: Model) -> float:
    """Weights on the device in GiB: the checkpoint plus 1 % and 64 MiB, because rows of real logs lie up to 2.7 % above the file."""
    return model.weights_gib.value * 1.01 + 64 / 1024


def derived_utilization(*, total_gib: float, desktop_gib: float, context_gib: float, largest: float = 1.0) -> float:
    """The largest --gpu-memory-utilization, in hundredths and up to `largest`, whose start check (free >= utilization x total) holds
    beside what others hold of the card (`desktop_gib`) and the engine's own CUDA context.
    """
    return min(largest, max(0.0, floor((total_gib - desktop_gib - context_gib) / total_gib * 100) / 100))
