"""One model on the processors: for trials and CI."""

from __future__ import annotations

from dataclasses import asdict
from math import floor

from stacks.catalog import Model
from stacks.plan import MemoryPlan, VllmPlan
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.engines.engine import OnCpu
from stacks.planning.engines.vllm import tasks
from stacks.planning.engines.vllm.memory import Architecture, EngineRun, kv_needed_gib, predict
from stacks.settings import VllmModel

# the CPU engine has one batch in flight, as every engine had before async scheduling came with 0.26
_SYNCHRONOUS = "0.25.0"


def on_cpu(spec: VllmModel, model: Model, architecture: Architecture, inputs: Inputs, notes: Notes) -> OnCpu:
    """The engine as speced; refusals and decisions go to `notes`. Only KV pages and the activation peak are predicted:
    RAM has no budget flag.
    """
    number = inputs.catalog.number
    if model.quantization is not None:
        notes.refuse(
            f"{spec.name}: {spec.model} is quantized with {model.quantization}, which the CPU engine here does not "
            f"run; use a 16-bit model"
        )
    for field, alias in (("gpu_memory_utilization", "gpuMemoryUtilization"), ("enforce_eager", "enforceEager")):
        if getattr(spec.pin, field) is not None:
            notes.refuse(f"{spec.name}: pin.{alias} has no meaning on machine.kind cpu; remove it")
    if spec.kv_cache_dtype != "auto":
        notes.refuse(f"{spec.name}: kvCacheDtype {spec.kv_cache_dtype} is not offered on machine.kind cpu; write auto")
    for alias, asked in (
        ("tensorParallel", spec.tensor_parallel),
        ("speculative", spec.speculative),
        ("lora", spec.lora),
        ("imagesPerRequest", spec.images_per_request),
        ("image", spec.image),
        ("maxNumBatchedTokens", spec.max_num_batched_tokens),
    ):
        if asked is not None:
            notes.refuse(f"{spec.name}: {alias} is not offered on machine.kind cpu; remove it")
    batched = max(spec.context_tokens, int(number("cpuEngine.maxNumBatchedTokens")), spec.concurrent_requests)
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
        kv_cache_memory_gib=float(pool.value),
        max_model_len=spec.context_tokens,
        max_num_seqs=spec.concurrent_requests,
        max_num_batched_tokens=batched,
        enforce_eager=True,
        dtype="bfloat16",
        block_size=int(number("cpuEngine.blockSize")),
        checkpoint_gib=model.weights_gib.value,
        pooling=model.task in tasks.POOLING,
    )
    needed = kv_needed_gib(run, max_model_len=spec.context_tokens)
    if needed > pool.value:
        notes.refuse(
            f"{spec.name}: one request of {spec.context_tokens} tokens needs {gib(needed)} of KV cache, and the CPU "
            f"engine is given {gib(pool.value)} (VLLM_CPU_KVCACHE_SPACE)"
        )
    prediction = predict(run)
    tokens, concurrency = prediction.kv_tokens or 0, int((prediction.concurrency or 0.0) * 100) / 100
    notes.decide("dtype", "bfloat16", "derived", "catalogue", f"the checkpoint's own; {spec.model} on a CPU")
    notes.decide("kvCache", gib(pool.value), "default", pool.source, f"VLLM_CPU_KVCACHE_SPACE; holds {tokens:,} tokens")
    if start := next(
        (s for s in inputs.measured if (s.device, s.name, s.model) == ("cpu", spec.name, spec.model)), None
    ):
        source = f"measured/{inputs.stack}.yaml"
        if start.kv_tokens is not None:
            off = "as planned" if start.kv_tokens == tokens else f"{tokens:,} were planned"
            notes.decide(
                "kvTokens", f"{start.kv_tokens:,}", "measured", source, f"what vLLM {start.version} printed: {off}"
            )
            tokens, concurrency = start.kv_tokens, floor(start.kv_tokens / tokens * concurrency * 100) / 100
    notes.decide(
        "concurrency",
        f"{concurrency:.2f}x",
        "derived",
        "the memory predictor",
        f"requests of {spec.context_tokens} tokens held at once",
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
    told = VllmPlan(
        dtype="bfloat16",
        max_model_len=spec.context_tokens,
        max_num_seqs=spec.concurrent_requests,
        max_num_batched_tokens=batched,
        gpu_memory_utilization=None,
        enforce_eager=True,
        trust_remote_code=spec.trust_remote_code,
        **asdict(tasks.options(model)),
    )
    return OnCpu(told, memory, prediction.activation_gib)
