"""One model on the processors: for trials and CI."""

from __future__ import annotations

from stacks.catalog import Model
from stacks.planning.draft import EngineChoice, Inputs, Notes, gib, kv_pool
from stacks.planning.memory import kv_shape
from stacks.planning.plan import MemoryPlan
from stacks.settings import VllmModel


def on_cpu(wish: VllmModel, model: Model, inputs: Inputs, notes: Notes) -> tuple[EngineChoice, MemoryPlan]:
    """What the engine is told and the arithmetic behind it; refusals and decisions go to `notes`."""
    number = inputs.catalog.number
    if model.quantization is not None:
        notes.refuse(
            f"{wish.name}: {wish.model} is quantized with {model.quantization}, which the CPU engine here does not run; use a 16-bit model"
        )
    if wish.pin.gpu_memory_utilization is not None:
        notes.refuse(f"{wish.name}: pin.gpuMemoryUtilization has no meaning on machine.kind cpu; remove it")
    batched = max(wish.context_tokens, int(number("cpuEngine.maxNumBatchedTokens")), wish.concurrent_requests)
    notes.decide(
        "maxNumBatchedTokens", batched, "derived", "catalogue: cpuEngine", "the whole context in one step, and at least maxNumSeqs"
    )
    kv = kv_shape(
        model,
        block=int(number("cpuEngine.blockSize")),
        max_num_batched_tokens=batched,
        batches_in_flight=int(number("cpuEngine.batchesInFlight")),
    )
    pool = inputs.catalog.fact("cpuEngine.kvCacheGiB")
    needed = kv.needed_gib(wish.context_tokens)
    if needed > pool.value:
        notes.refuse(
            f"{wish.name}: one request of {wish.context_tokens} tokens needs {gib(needed)} of KV cache, and the CPU engine is given {gib(pool.value)} "
            "(VLLM_CPU_KVCACHE_SPACE)"
        )
    tokens, concurrency = kv_pool(kv, pool.value, wish.context_tokens)
    notes.decide("dtype", "bfloat16", "derived", "catalogue", f"the checkpoint's own; {wish.model} on a CPU")
    notes.decide("kvCache", gib(pool.value), "default", pool.source, f"VLLM_CPU_KVCACHE_SPACE; holds {tokens:,} tokens")
    notes.decide(
        "concurrency",
        f"{concurrency:.2f}x",
        "derived",
        "stacks/planning/memory.py",
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
    return EngineChoice("bfloat16", batched, None, enforce_eager=True), memory
