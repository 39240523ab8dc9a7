"""A run with vLLM's defaults in place of what was not given, and how it pages its KV cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from stacks.planning.fit.architecture import Architecture, Attention, State
from stacks.planning.fit.kv_cache import Pool, pool
from stacks.planning.fit.run import EngineRun
from stacks.planning.fit.versions import Behaviour, behaviour, defaults, engine_of


@dataclass(frozen=True)
class Resolved:
    """A run with vLLM's defaults in place of None."""

    rules: Behaviour
    max_model_len: int
    seqs: int
    batched: int
    utilization: float
    dtype: str


@lru_cache(maxsize=4096)
def resolve(run: EngineRun) -> Resolved:
    """What vLLM makes of the flags that were not given (engine/arg_utils.py)."""
    rules = behaviour(run.version, run.engine or engine_of(run.version, run.capability))
    length = run.max_model_len or run.architecture.max_positions
    chosen = defaults(
        rules, total_gib=run.total_gib, gpu_name=run.gpu_name, max_model_len=length, multimodal=run.multimodal
    )
    batched = run.max_num_batched_tokens or chosen.batched
    seqs = run.max_num_seqs or chosen.seqs
    dtype = run.dtype or (
        "float16" if run.capability is not None and run.capability < (8, 0) else run.architecture.dtype
    )
    return Resolved(rules, length, min(seqs, batched), batched, run.gpu_memory_utilization or rules.utilization, dtype)


def pool_of(run: EngineRun) -> Pool:
    """How this run pages its KV cache."""
    resolved = resolve(run)
    speculation = run.speculation
    caching = resolved.rules.align_states if run.prefix_caching is None else run.prefix_caching
    states = (2 if caching else 1) + (speculation.tokens if speculation is not None else 0)
    drafts = speculation.draft.caches if speculation is not None and speculation.draft is not None else ()
    return pool(
        run.architecture,
        rules=resolved.rules,
        kv_cache_dtype=run.kv_cache_dtype,
        dtype=resolved.dtype,
        tensor_parallel=run.tensor_parallel,
        pipeline_parallel=run.pipeline_parallel,
        block=run.block_size or _block(run.architecture, run.capability),
        batched=resolved.batched,
        states=states,
        drafts=drafts,
    )


def _block(shape: Architecture, capability: tuple[int, int] | None) -> int:
    """Tokens of a block: 16, but 64 for MLA on Hopper (FlashMLA) and 128 on data-centre Blackwell (CUTLASS MLA)."""
    if capability is None or not any(isinstance(layer, Attention) and layer.kind == "mla" for layer, _ in shape.caches):
        return 16
    return {9: 64, 10: 128}.get(capability[0], 16)


def states_checked(run: EngineRun, rules: Behaviour) -> bool:
    """Whether full CUDA graphs of recurrent layers want a block for each sequence (config/compilation.py, since 0.17)."""
    recurrent = any(isinstance(layer, State) for layer, _ in run.architecture.caches)
    return recurrent and rules.v1 and rules.version >= (0, 17, 0) and not run.enforce_eager
