"""A run with vLLM's defaults in place of what was not given, and how it pages its KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from stacks.planning.engines.vllm.memory.architecture import Architecture, Attention, State
from stacks.planning.engines.vllm.memory.graphs import second_runner
from stacks.planning.engines.vllm.memory.kv_cache import Pool, pool
from stacks.planning.engines.vllm.memory.run import EngineRun
from stacks.planning.engines.vllm.memory.versions import Behaviour, behaviour, defaults


@dataclass(frozen=True)
class Resolved:
    """A run with vLLM's defaults in place of None. `second`: the V2 model runner serves it; `block` tokens."""

    rules: Behaviour
    max_model_len: int
    seqs: int
    batched: int
    utilization: float
    dtype: str
    second: bool
    block: int

    @property
    def value_bytes(self) -> int:
        """Bytes of an activation."""
        return 4 if self.dtype == "float32" else 2


@lru_cache(maxsize=4096)
def resolve(run: EngineRun) -> Resolved:
    """What vLLM makes of the flags that were not given (engine/arg_utils.py)."""
    rules = behaviour(run.version)
    ngram = run.speculation is not None and run.speculation.draft is None
    chosen = defaults(rules, total_gib=run.total_gib, gpu_name=run.gpu_name)
    batched = run.max_num_batched_tokens or chosen.batched
    dtype = run.dtype or (
        "float16" if run.capability is not None and run.capability < (8, 0) else run.architecture.dtype
    )
    return Resolved(
        rules=rules,
        max_model_len=run.max_model_len or run.architecture.max_positions,
        seqs=min(run.max_num_seqs or chosen.seqs, batched),
        batched=batched,
        utilization=run.gpu_memory_utilization or rules.utilization,
        dtype=dtype,
        second=second_runner(run.architecture, rules, wsl2=run.wsl2, ngram=ngram),
        block=run.block_size or _block(run.architecture, run.capability, rules),
    )


def pool_of(run: EngineRun) -> Pool:
    """How this run pages its KV cache."""
    resolved, speculation = resolve(run), run.speculation
    caching = resolved.rules.align_states if run.prefix_caching is None else run.prefix_caching
    draft_tokens = speculation.tokens if speculation is not None else 0
    return pool(
        run.architecture,
        rules=resolved.rules,
        kv_cache_dtype=run.kv_cache_dtype,
        dtype=resolved.dtype,
        tensor_parallel=run.tensor_parallel,
        pipeline_parallel=run.pipeline_parallel,
        block=resolved.block,
        batched=resolved.batched,
        states=(2 if caching else 1) + draft_tokens,
        drafts=speculation.draft.caches if speculation is not None and speculation.draft is not None else (),
        draft_tokens=draft_tokens,
        batches=_batches(resolved, run.pipeline_parallel),
    )


def _batches(resolved: Resolved, stages: int) -> int:
    """Steps that may be in flight (config/vllm.py max_concurrent_batches): before 0.26 the pages of one are counted."""
    if resolved.rules.batches_in_flight == 1 or stages == 1:
        return resolved.rules.batches_in_flight
    return stages + 1 if resolved.second else stages


def _block(shape: Architecture, capability: tuple[int, int] | None, rules: Behaviour) -> int:
    """Tokens of a block: 16, but for MLA on data-centre cards what its kernels want (platforms/cuda.py).

    Before 0.18 FLASHMLA's 64 on Hopper and CUTLASS_MLA's 128 on Blackwell; since then FLASH_ATTN_MLA takes 16 on
    Hopper and FLASHINFER_MLA 32 on Blackwell. Sparse attention (DeepSeek-V3.2) wants 64 for its index.
    """
    latents = [layer for layer, _ in shape.caches if isinstance(layer, Attention) and layer.kind == "mla"]
    if capability is None or capability[0] not in (9, 10) or not latents:
        return 16
    if any(layer.indexer_bytes for layer in latents):
        return 64
    if rules.version < (0, 18, 0):
        return 64 if capability[0] == 9 else 128
    return 16 if capability[0] == 9 else 32


def states_checked(run: EngineRun, rules: Behaviour) -> bool:
    """Whether full CUDA graphs of recurrent layers want a block for each sequence."""
    recurrent = any(isinstance(layer, State) for layer, _ in run.architecture.caches)
    return recurrent and rules.states_checked and not run.enforce_eager
