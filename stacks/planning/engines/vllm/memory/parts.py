"""What the budget pays for before the KV cache, what is free when vLLM looks first, and what lies beside the budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from stacks.planning.engines.vllm.memory import activations, graphs, weights
from stacks.planning.engines.vllm.memory.adapters import adapters_gib
from stacks.planning.engines.vllm.memory.constants import constant
from stacks.planning.engines.vllm.memory.resolved import resolve
from stacks.planning.engines.vllm.memory.run import EngineRun
from stacks.planning.engines.vllm.memory.versions import unified


@dataclass(frozen=True)
class Parts:
    """GiB on one card.

    activation  the peak of the profiling run, which the budget is charged for; `step` the peak of a step once compiled.
    graphs      the estimate inside the budget, `real` what capture takes.
    sampler, encoder, compiling   phases of the profiling run.
    """

    weights: float
    activation: float
    step: float
    non_torch: float
    graphs: float
    real: float
    sampler: float
    encoder: float
    compiling: float


@lru_cache(maxsize=4096)
def parts_of(run: EngineRun) -> Parts:
    """The parts by formula, or as they were measured in a start of the same model."""
    resolved, shape = resolve(run), run.architecture
    rules, seqs, eager = resolved.rules, resolved.seqs, run.enforce_eager
    sampler = activations.sampling_gib(run, resolved)
    encoder = activations.encoder_gib(run, resolved)
    library = activations.library_gib(run.capability)
    forward = activations.forward_gib(run, resolved) + (library if run.quantization is None else 0.0)
    step = max(forward, sampler + library, encoder + library)  # the output head is in 16 bit
    compiling = activations.compile_gib(run)
    loaded = weights.weights_gib(run) + weights.draft_gib(run) + adapters_gib(run)
    charged = max(step, compiling)
    estimate = graphs.estimate_gib(shape, rules, seqs=seqs, eager=eager, second=resolved.second)
    grown = graphs.non_torch_gib(shape, rules, capability=run.capability, tensor_parallel=run.tensor_parallel)
    seen = run.same_model
    return Parts(
        weights=_measured(seen.weights_gib if seen else None, loaded),
        activation=_measured(seen.activation_gib if seen else None, charged),
        step=step,
        non_torch=_measured(seen.non_torch_gib if seen else None, grown),
        # an offset was learned with the estimate in place; a given KV cache has no budget to hold one
        graphs=_measured(seen.graphs_gib if seen and run.kv_cache_memory_gib is not None else None, estimate),
        real=_measured(seen.graphs_gib if seen else None, graphs.real_gib(shape, rules, seqs=seqs, eager=eager)),
        sampler=sampler,
        encoder=encoder,
        compiling=compiling,
    )


def _measured(seen: float | None, computed: float) -> float:
    return computed if seen is None else seen


def free_at_start_gib(run: EngineRun) -> float | None:
    """GiB free when vLLM looks first, which is after its own CUDA context was made."""
    if run.total_gib is None:
        return None
    if run.free_gib is not None:
        return run.free_gib
    return run.total_gib - _taken_gib(run, run.total_gib)


def _taken_gib(run: EngineRun, total: float) -> float:
    if run.measured is not None and run.measured.context_gib is not None:
        return run.measured.context_gib
    if run.wsl2:
        return constant("context.wsl2GiB") + constant("context.wsl2Share") * total
    if unified(run.gpu_name):
        return constant("context.unifiedGiB")
    return graphs.context_gib(run.capability)


def free_band_gib(run: EngineRun) -> float:
    """Half width of `free_at_start_gib`."""
    if run.free_gib is not None and "free_gib" not in run.assumed:
        return 0.0
    if run.measured is not None and run.measured.context_gib is not None:
        return constant("bandFree.measuredGiB")
    if run.wsl2:
        return constant("bandFree.wsl2GiB")
    return constant("bandFree.unifiedGiB" if unified(run.gpu_name) else "bandFree.headlessGiB")


def outside_gib(run: EngineRun) -> float:
    """GiB on the card beside the budget once the engine serves: CUDA context, and real CUDA graphs where they are not
    in the budget.
    """
    parts = parts_of(run)
    return graphs.context_gib(run.capability) + max(0.0, parts.real - parts.graphs)
