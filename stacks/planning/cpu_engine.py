"""One model on the processors: for trials and CI."""

from __future__ import annotations

from dataclasses import dataclass

from stacks.catalog import Model
from stacks.planning.draft import EngineChoice, Inputs, Notes, gib
from stacks.planning.fit import Architecture, EngineRun, kv_needed_gib, predict
from stacks.planning.plan import MemoryPlan
from stacks.settings import VllmModel

# the CPU engine has one batch in flight, as every engine had before async scheduling came with 0.26
_SYNCHRONOUS = "0.25.0"


@dataclass(frozen=True)
class CpuEngine:
    """What the engine is told, its KV cache, and `activation_gib` of RAM at the peak of a step."""

    choice: EngineChoice
    memory: MemoryPlan
    activation_gib: float


def on_cpu(wish: VllmModel, model: Model, architecture: Architecture, inputs: Inputs, notes: Notes) -> CpuEngine:
    """The engine as wished; refusals and decisions go to `notes`. Only KV pages and the activation peak are predicted:
    RAM has no budget flag.
    """
    number = inputs.catalog.number
    if model.quantization is not None:
        notes.refuse(
            f"{wish.name}: {wish.model} is quantized with {model.quantization}, which the CPU engine here does not run; use a 16-bit model"
        )
    for field, alias in (("gpu_memory_utilization", "gpuMemoryUtilization"), ("enforce_eager", "enforceEager")):
        if getattr(wish.pin, field) is not None:
            notes.refuse(f"{wish.name}: pin.{alias} has no meaning on machine.kind cpu; remove it")
    if wish.kv_cache_dtype != "auto":
        notes.refuse(f"{wish.name}: kvCacheDtype {wish.kv_cache_dtype} is not offered on machine.kind cpu; write auto")
    batched = max(wish.context_tokens, int(number("cpuEngine.maxNumBatchedTokens")), wish.concurrent_requests)
    notes.decide(
        "maxNumBatchedTokens",
        batched,
        "derived",
        "catalogue: cpuEngine",
        "the whole context in one step, and at least maxNumSeqs",
    )
    pool = inputs.catalog.fact("cpuEngine.kvCacheGiB")
    run = EngineRun(
        architecture=architecture,
        version=_SYNCHRONOUS,
        engine="V1",
        kv_cache_memory_gib=float(pool.value),
        max_model_len=wish.context_tokens,
        max_num_seqs=wish.concurrent_requests,
        max_num_batched_tokens=batched,
        enforce_eager=True,
        dtype="bfloat16",
        block_size=int(number("cpuEngine.blockSize")),
        checkpoint_gib=model.weights_gib.value,
    )
    needed = kv_needed_gib(run, max_model_len=wish.context_tokens)
    if needed > pool.value:
        notes.refuse(
            f"{wish.name}: one request of {wish.context_tokens} tokens needs {gib(needed)} of KV cache, and the CPU engine is given {gib(pool.value)} "
            "(VLLM_CPU_KVCACHE_SPACE)"
        )
    prediction = predict(run)
    tokens, concurrency = prediction.kv_tokens or 0, int((prediction.concurrency or 0.0) * 100) / 100
    notes.decide("dtype", "bfloat16", "derived", "catalogue", f"the checkpoint's own; {wish.model} on a CPU")
    notes.decide("kvCache", gib(pool.value), "default", pool.source, f"VLLM_CPU_KVCACHE_SPACE; holds {tokens:,} tokens")
    notes.decide(
        "concurrency",
        f"{concurrency:.2f}x",
        "derived",
        "stacks/planning/fit",
        f"requests of {wish.context_tokens} tokens held at once",
    )
    notes.decide(
        "enforceEager",
        "true",
        "default",
        "measured: compiling took 140 s and won nothing at this size",
        "the image has no C++ compiler either",
    )
    if model.task_note:
        notes.decide("answers", "weak", "degraded", "catalogue", model.task_note)
    memory = MemoryPlan(
        device="cpu",
        total_gib=round(pool.value, 3),
        desktop_gib=0.0,
        context_gib=0.0,
        budget_gib=round(pool.value, 3),
        weights_gib=round(model.weights_gib.value, 3),
        activation_gib=0.0,
        non_torch_gib=0.0,
        cuda_graphs_gib=0.0,
        error_band_gib=0.0,
        kv_cache_gib=round(pool.value, 3),
        kv_needed_gib=round(needed, 3),
        kv_tokens=tokens,
        concurrency=concurrency,
    )
    choice = EngineChoice(
        "bfloat16",
        wish.context_tokens,
        wish.concurrent_requests,
        batched,
        None,
        enforce_eager=True,
        trust_remote_code=wish.trust_remote_code,
    )
    return CpuEngine(choice, memory, prediction.activation_gib)
