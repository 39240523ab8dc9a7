"""LoRA adapters: the slots that vLLM allocates at load, and what one adapter is at most on a disk and in RAM.

Read in vLLM: lora/layers (column_parallel_linear.py, row_parallel_linear.py, fused_moe.py, vocal_parallel_embedding.py,
logits_processor.py). Every projection that could have an adapter gets its slots, whatever the adapters have. Of a pair
A, B only the side that the base layer splits is split over ranks.
"""

from __future__ import annotations

from typing import Final

from stacks.planning.engines.vllm.memory.architecture import Architecture
from stacks.planning.engines.vllm.memory.run import GIB, EngineRun

LARGEST_VOCABULARY: Final = 258_048
"""Above it vLLM's LogitsProcessorWithLoRA refuses; networks that have more give their output head no slots."""

_HALF = 2  # bytes of a slot's value: the activations' size
_FULL = 4  # bytes of a value in a file: PEFT writes float32 where the adapter was trained so


def adapters_gib(run: EngineRun) -> float:
    """GiB of `max_loras` slots of rank `max_lora_rank` on one card."""
    shape = run.architecture
    whole, split = _values(shape)
    values = (whole + split / run.tensor_parallel) / run.pipeline_parallel + _tables(shape)
    return run.max_loras * run.max_lora_rank * values * _HALF / GIB


def adapter_file_gib(shape: Architecture, rank: int) -> float:
    """GiB of one adapter of `rank` at most: over every projection, in 32 bit."""
    return rank * sum(_values(shape)) * _FULL / GIB


def _values(shape: Architecture) -> tuple[int, int]:
    """Values a rank of all layers: those that every card holds, and those that tensor parallelism splits."""
    count = len(shape.layers)
    experts = shape.experts
    sparse = experts.layers if experts else 0
    # q, k, v read the hidden size, and o writes it; gate and up read it, and down writes it
    whole = 4 * shape.hidden * count + 3 * shape.hidden * (count - sparse)
    output = shape.attention_copies // 2 or shape.hidden
    split = (max(shape.qkv_width, shape.mixer_width) + output) * count + 3 * shape.intermediate * (count - sparse)
    if experts:
        shared = 1 if experts.shared else 0
        whole += 3 * shape.hidden * (experts.count + shared) * sparse
        split += 3 * (experts.intermediate * experts.count + experts.shared) * sparse
    return whole, split


def _tables(shape: Architecture) -> int:
    """Values a rank of the token embedding and the output head."""
    return 2 * (shape.vocabulary + shape.hidden) if shape.vocabulary <= LARGEST_VOCABULARY else 0
