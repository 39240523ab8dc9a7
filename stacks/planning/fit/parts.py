"""What the budget pays for before the KV cache, how sure that is, and what lies beside the budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

from stacks.planning.fit import activations, graphs, weights
from stacks.planning.fit.constants import constant
from stacks.planning.fit.resolved import resolve
from stacks.planning.fit.run import EngineRun


@dataclass(frozen=True)
class Parts:
    """What the budget pays for before the KV cache, GiB on one card."""

    weights: float
    activation: float
    non_torch: float
    graphs: float
    sampler: float
    encoder: float


@lru_cache(maxsize=4096)
def parts_of(run: EngineRun) -> Parts:
    resolved = resolve(run)
    rules, shape = resolved.rules, run.architecture
    wide = 4 if resolved.dtype == "float32" else 2
    forward = activations.forward_gib(
        shape, batched=resolved.batched, tensor_parallel=run.tensor_parallel, rules=rules, dtype_bytes=wide
    )
    sampler = activations.sampling_gib(
        shape, seqs=resolved.seqs, batched=resolved.batched, kind=activations.sampler_of(rules), dtype_bytes=wide
    )
    encoder = activations.encoder_gib(shape, batched=resolved.batched, rules=rules) if run.multimodal else 0.0
    loaded = weights.weights_gib(run) + weights.draft_gib(run) + weights.adapters_gib(run)
    estimate = graphs.estimate_gib(
        shape, rules, seqs=resolved.seqs, eager=run.enforce_eager, tensor_parallel=run.tensor_parallel, wsl2=run.wsl2
    )
    non_torch = graphs.non_torch_gib(
        shape, rules, capability=run.capability, tensor_parallel=run.tensor_parallel, others_gib=_others_gib(run)
    )
    return Parts(loaded, max(forward, sampler, encoder), non_torch, estimate, sampler, encoder)


def _others_gib(run: EngineRun) -> float:
    """GiB that other processes hold before the start, as far as it is known."""
    free = free_at_start_gib(run)
    if run.total_gib is None or free is None:
        return 0.0
    return max(0.0, run.total_gib - free - graphs.context_gib(run.capability))


def free_at_start_gib(run: EngineRun) -> float | None:
    """GiB free when vLLM looks first, which is after its own CUDA context was made."""
    if run.total_gib is None:
        return None
    if run.free_gib is not None:
        return run.free_gib
    if run.wsl2:
        return run.total_gib - constant("context.wsl2GiB") - constant("context.wsl2Share") * run.total_gib
    return run.total_gib - graphs.context_gib(run.capability)


def band_gib(run: EngineRun) -> float:
    """Half width of the error band of the KV cache: independent errors of the parts, added as squares."""
    resolved, parts = resolve(run), parts_of(run)
    errors = [constant("band.leastGiB"), constant("band.samplerShare") * parts.sampler]
    if run.checkpoint_gib is None:
        exact = run.quantization is None
        errors.append(constant("band.weightsShare") * parts.weights * (0.25 if exact else 1.0))
    errors.append(constant("band.graphsShare") * parts.graphs)
    errors.append(constant("band.ranksGiB") * (run.tensor_parallel - 1))
    if resolved.rules.accounting == "consumed":
        errors.append(constant("band.consumedGiB"))
    if run.multimodal:
        errors.append(constant("band.encoderShare") * parts.encoder)
    if run.architecture.unmodelled:
        errors.append(constant("band.unmodelledShare") * parts.weights)
    return sqrt(sum(error * error for error in errors))


def outside_gib(run: EngineRun) -> float:
    """GiB on the card beside the budget once the engine serves: CUDA context, and real CUDA graphs where they are not
    in the budget.
    """
    resolved = resolve(run)
    real = graphs.real_gib(
        run.architecture,
        resolved.rules,
        seqs=resolved.seqs,
        eager=run.enforce_eager,
        tensor_parallel=run.tensor_parallel,
    )
    estimate = parts_of(run).graphs
    context = 0.0 if resolved.rules.accounting == "device" else graphs.context_gib(run.capability)
    return context + max(0.0, real - estimate)
