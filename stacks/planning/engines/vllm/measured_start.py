"""A plan's model beside what its start printed: what is kept, what it says of the next plan, and how far off each part
was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from stacks.measured import Row, Start
from stacks.plan import MachinePlan, ModelPlan
from stacks.plan.vllm import SpeculativePlan
from stacks.planning.engines.vllm.memory import EngineRun
from stacks.planning.engines.vllm.memory.learning import learn
from stacks.planning.engines.vllm.memory.run import Measured
from stacks.planning.engines.vllm.start_log import StartFigures

_TOKENS_OFF = 0.005  # of a pool whose size was given: pages are arithmetic, rounding is all that may differ


def kept(plan: ModelPlan, machine: MachinePlan, catalogue_name: str, figures: StartFigures) -> Start:
    """What measured/<stack>.yaml keeps of a start of the plan's model."""
    engine = plan.engine
    return Start(
        name=plan.name,
        model=catalogue_name,
        engine=engine.name,
        version=figures.version or plan.engine_version,
        device=machine.gpu or "cpu",
        platform=machine.platform,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        enforce_eager=engine.enforce_eager,
        tensor_parallel_size=engine.tensor_parallel_size,
        beside=beside_weights(
            max_loras=engine.max_loras,
            max_lora_rank=engine.max_lora_rank,
            speculative=engine.speculative,
            images=engine.images,
        ),
        gpu_memory_utilization=engine.gpu_memory_utilization if figures.kv_cache_gib is not None else None,
        weights_gib=figures.weights_gib if figures.weights_gib is not None else figures.checkpoint_gib,
        free_gib=figures.free_gib,
        total_gib=figures.total_gib,
        activation_gib=figures.activation_gib,
        non_torch_gib=figures.non_torch_gib,
        graphs_gib=figures.graphs_gib,
        kv_cache_gib=figures.kv_cache_gib,
        given_kv_cache_gib=figures.given_kv_cache_gib,
        kv_tokens=None if figures.kv_tokens is None else int(figures.kv_tokens),
    )


def beside_weights(
    *, max_loras: int, max_lora_rank: int, speculative: SpeculativePlan | None, images: int | None
) -> str:
    """What a start loads beside the model itself, or leaves out: printed weights say nothing of another start's."""
    parts = [f"{max_loras} adapters of rank {max_lora_rank}"] if max_loras else []
    if speculative:
        parts.append(speculative.method + (f" {speculative.folder}" if speculative.folder else ""))
    return ", ".join(parts + (["text only"] if images == 0 else []))


def beside(plan: ModelPlan, start: Start) -> list[Row]:
    """The plan's figures beside the printed ones, where both are known."""
    memory = plan.memory
    band = max(memory.error_band_gib, 0.05)
    free = memory.total_gib - memory.desktop_gib - memory.context_gib if memory.device == "gpu" else None
    kv = start.kv_cache_gib if start.kv_cache_gib is not None else start.given_kv_cache_gib
    pairs: list[tuple[str, float | None, float | None, float, str]] = [
        ("free at start", free, start.free_gib, band, "GiB"),
        ("weights", memory.weights_gib, start.weights_gib, band, "GiB"),
        ("activations", memory.activation_gib or None, start.activation_gib, band, "GiB"),
        ("non-torch", memory.non_torch_gib or None, start.non_torch_gib, band, "GiB"),
        ("CUDA graphs", memory.cuda_graphs_gib or None, start.graphs_gib, band, "GiB"),
        ("KV cache", memory.kv_cache_gib, kv, band if start.kv_cache_gib is not None else 0.01, "GiB"),
        ("KV cache", float(memory.kv_tokens), start.kv_tokens, _TOKENS_OFF * memory.kv_tokens, "tokens"),
    ]
    return [
        Row(part, planned, float(printed), allowed, unit)
        for part, planned, printed, allowed, unit in pairs
        if planned is not None and printed is not None
    ]


def of_machine(starts: Iterable[Start], run: EngineRun, *, device: str, platform: str) -> list[Start]:
    """The starts on this card with this engine version, which alone say anything about `run`."""
    return [s for s in starts if (s.device, s.platform, s.version) == (device, platform, run.version)]


def applied(starts: Sequence[Start], run: EngineRun, *, catalogue_name: str, name: str, beside: str = "") -> EngineRun:
    """The run with what was measured in the place of what was assumed: free memory, and, of the same model with the
    same beside it, its parts.

    A start that worked its KV cache out tells the machine's offset too; one with a given KV cache cannot.
    """
    if not starts:
        return run
    own = next((s for s in starts if (s.model, s.name) == (catalogue_name, name)), None)
    own = own or next((s for s in starts if s.model == catalogue_name), None)
    told = own or starts[-1]
    own = own if own and own.beside == beside else None
    free = next((s.free_gib for s in (told, *starts) if s.free_gib is not None), None)
    if free is not None:
        run = replace(run, free_gib=free, assumed=run.assumed - {"free_gib"})
    if own is None:
        return run
    measured = _offset(own, run) or Measured()
    graphs = own.graphs_gib if own.enforce_eager == run.enforce_eager else None
    spans = replace(run, tensor_parallel=own.tensor_parallel_size)  # its figures are of one card of so many
    measured = replace(measured, model=spans.model_key, weights_gib=own.weights_gib, graphs_gib=graphs)
    return replace(run, measured=measured)


def _offset(start: Start, run: EngineRun) -> Measured | None:
    """The machine's offset from a start of this model that worked its KV cache out itself."""
    if start.kv_cache_gib is None or start.gpu_memory_utilization is None:
        return None
    then = replace(
        run,
        max_model_len=start.max_model_len,
        max_num_seqs=start.max_num_seqs,
        max_num_batched_tokens=start.max_num_batched_tokens,
        enforce_eager=start.enforce_eager,
        tensor_parallel=start.tensor_parallel_size,
        gpu_memory_utilization=start.gpu_memory_utilization,
        kv_cache_memory_gib=None,
        measured=None,
    )
    return learn(then, kv_gib=start.kv_cache_gib, weights_gib=start.weights_gib)
