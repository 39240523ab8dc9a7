"""One engine start, predicted: the budget, what it pays for, and vLLM's start conditions in the order in which it meets them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, sqrt

from stacks.planning.fit import activations, graphs, weights
from stacks.planning.fit.architecture import Architecture, Attention, State
from stacks.planning.fit.constants import constant
from stacks.planning.fit.kv_cache import Pool, pool
from stacks.planning.fit.run import GIB, Condition, EngineRun, Prediction, Verdict
from stacks.planning.fit.versions import Behaviour, behaviour, defaults, engine_of

_BYTE = 1 / GIB  # the check for no memory at all fails at exactly nothing


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
    chosen = defaults(rules, total_gib=run.total_gib, gpu_name=run.gpu_name, max_model_len=length, multimodal=run.multimodal)
    batched = run.max_num_batched_tokens or chosen.batched
    seqs = run.max_num_seqs or chosen.seqs
    dtype = run.dtype or ("float16" if run.capability is not None and run.capability < (8, 0) else run.architecture.dtype)
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


def kv_needed_gib(run: EngineRun, *, max_model_len: int, requests: int = 1) -> float:
    """GiB of KV cache that `requests` requests of `max_model_len` tokens hold at once: what --kv-cache-memory-bytes should say.

    The null block that newer versions hold back is counted, no fewer blocks than bytes (the pool is whole blocks), and a block for each
    of max_num_seqs where graphs of recurrent layers want one.
    """
    paged, resolved = pool_of(run), resolve(run)
    blocks = max(
        requests * paged.blocks_per_request(max_model_len),
        ceil(paged.needed_bytes(max_model_len) / max(1, paged.block_bytes)),
        resolved.seqs if _states_checked(run, resolved.rules) else 0,
    )
    return (blocks + 1) * paged.block_bytes / GIB


def largest_len(run: EngineRun, *, kv_gib: float) -> int:
    """The longest max_model_len that a pool of `kv_gib` GiB holds (0: none), not capped by what the model was trained for."""
    return pool_of(run).largest_len(kv_gib * GIB)


def outside_gib(run: EngineRun) -> float:
    """GiB on the card beside the budget once the engine serves: CUDA context, and real CUDA graphs where they are not in the budget."""
    resolved = resolve(run)
    real = graphs.real_gib(
        run.architecture, resolved.rules, seqs=resolved.seqs, eager=run.enforce_eager, tensor_parallel=run.tensor_parallel
    )
    estimate = _parts(run).graphs
    context = 0.0 if resolved.rules.accounting == "device" else graphs.context_gib(run.capability)
    return context + max(0.0, real - estimate)


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
def _parts(run: EngineRun) -> Parts:
    resolved = resolve(run)
    rules, shape = resolved.rules, run.architecture
    wide = 4 if resolved.dtype == "float32" else 2
    forward = activations.forward_gib(shape, batched=resolved.batched, tensor_parallel=run.tensor_parallel, rules=rules, dtype_bytes=wide)
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
    if run.total_gib is None or run.free_gib is None:
        return 0.0
    return max(0.0, run.total_gib - run.free_gib - graphs.context_gib(run.capability))


def free_at_start_gib(run: EngineRun) -> float | None:
    """GiB free when vLLM looks first, which is after its own CUDA context was made."""
    if run.total_gib is None:
        return None
    if run.free_gib is not None:
        return run.free_gib
    return run.total_gib - (constant("context.wsl2GiB") if run.wsl2 else graphs.context_gib(run.capability))


def band_gib(run: EngineRun) -> float:
    """Half width of the error band of the KV cache: independent errors of the parts, added as squares."""
    resolved, parts = resolve(run), _parts(run)
    errors = [constant("band.leastGiB"), constant("band.samplerShare") * parts.sampler]
    if run.checkpoint_gib is None:
        exact = run.quantization == "none"
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


@dataclass(frozen=True)
class _Check:
    """One start condition: it holds where `margin` (GiB) is not negative; `band` GiB are its uncertainty."""

    condition: Condition
    margin: float
    band: float
    sentence: str


@lru_cache(maxsize=4096)
def predict(run: EngineRun) -> Prediction:
    """What vLLM will do with this run. Never raises for a run that could be built."""
    resolved, parts, paged = resolve(run), _parts(run), pool_of(run)
    length, needed = resolved.max_model_len, paged.needed_bytes(resolved.max_model_len) / GIB
    budget = None if run.total_gib is None else resolved.utilization * run.total_gib
    given = run.kv_cache_memory_gib
    kv = given
    if kv is None and budget is not None:
        kv = budget - parts.weights - parts.activation - parts.non_torch - parts.graphs
    outside = outside_gib(run)
    band = 0.0 if given is not None else band_gib(run)
    checks = _checks(run, resolved, parts, paged, budget=budget, kv=kv, band=band)
    guess = bool(run.architecture.unmodelled)
    failing = [check for check in checks if check.margin < (check.band if guess else 0)]
    close = [check for check in checks if abs(check.margin) < check.band]
    certain = [check for check in failing if check.margin <= -check.band]
    verdict = Verdict.REFUSES if certain else Verdict.TOO_CLOSE if close or kv is None or guess else Verdict.FITS
    shown = next(iter(certain or failing or close), None)
    held = None if kv is None else parts.weights + parts.non_torch + kv + outside + (parts.activation if kv > 0 else 0.0) + parts.graphs
    usable = 0.0 if kv is None else max(0.0, kv) * GIB
    return Prediction(
        verdict=verdict,
        fits=kv is not None and not failing,
        failed=shown.condition if shown is not None else None,
        sentence=shown.sentence if shown is not None else None,
        budget_gib=budget,
        weights_gib=parts.weights,
        activation_gib=parts.activation,
        non_torch_gib=parts.non_torch,
        graphs_estimate_gib=parts.graphs,
        kv_gib=kv,
        kv_needed_gib=needed,
        kv_tokens=None if kv is None or guess else paged.tokens(usable, length),
        concurrency=None if kv is None or guess else paged.concurrency(usable, length),
        largest_len=None if kv is None or guess else paged.largest_len(usable),
        outside_gib=outside,
        in_use_gib=held,
        margin_gib=min((check.margin for check in checks), default=None),
        band_gib=band,
        notes=_notes(run, resolved),
    )


def _checks(
    run: EngineRun, resolved: Resolved, parts: Parts, paged: Pool, *, budget: float | None, kv: float | None, band: float
) -> list[_Check]:
    rules, found = resolved.rules, []
    free = free_at_start_gib(run)
    sure = run.free_gib is not None
    if free is not None:
        load = free - parts.weights
        found.append(_Check(Condition.LOAD, load, 0.02 * parts.weights, _oom(run)))
        if rules.free_check and budget is not None:
            sentence = (
                f"Free memory on device ({free:.2f}/{run.total_gib:.2f} GiB) on startup is less than desired GPU memory utilization "
                f"({resolved.utilization}, {budget:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
            )
            found.append(_Check(Condition.FREE_MEMORY, free - budget, 0.0 if sure else 0.15, sentence))
        if blocks := graphs.profiling_blocks(rules, seqs=resolved.seqs, eager=run.enforce_eager):
            profile = free - parts.weights - parts.non_torch - blocks * paged.block_bytes / GIB
            found.append(_Check(Condition.PROFILE, profile, band, _oom(run)))
    if kv is None:
        return found
    if paged.groups:
        usable = kv - (paged.block_bytes / GIB if rules.null_block else 0.0)
        found.append(_Check(Condition.NO_KV, usable - _BYTE, band, _no_kv()))
        if rules.v1:
            margin = usable - paged.needed_bytes(resolved.max_model_len) / GIB
        else:
            margin = (floor(max(0.0, kv) * GIB / paged.block_bytes) - ceil(resolved.max_model_len / paged.groups[0].block)) * (
                paged.block_bytes / GIB
            )
        found.append(_Check(Condition.KV_TOO_SMALL, margin, band, _too_small(resolved, paged, kv=kv)))
        if _states_checked(run, rules):
            short = (paged.blocks(max(0.0, kv) * GIB) - resolved.seqs) * paged.block_bytes / GIB
            sentence = f"max_num_seqs ({resolved.seqs}) exceeds available Mamba cache blocks ({paged.blocks(max(0.0, kv) * GIB)})."
            found.append(_Check(Condition.STATES, short, band, sentence))
    if free is not None and not run.wsl2:  # WSL2 pages device memory out to the host instead of failing
        late = constant("context.lateGiB") if rules.version >= (0, 22, 0) else constant("band.leastGiB")
        found.append(_Check(Condition.AFTER_KV, _after_kv(run, resolved, parts, free=free, kv=kv), sqrt(band**2 + late**2), _oom(run)))
    return found


def _after_kv(run: EngineRun, resolved: Resolved, parts: Parts, *, free: float, kv: float) -> float:
    """GiB left once the KV cache is reserved, graphs are captured and the sampler has warmed up in what the profiling run gave back."""
    real = graphs.real_gib(
        run.architecture, resolved.rules, seqs=resolved.seqs, eager=run.enforce_eager, tensor_parallel=run.tensor_parallel
    )
    warm = activations.warmup_gib(run.architecture, seqs=resolved.seqs)
    return free - parts.weights - parts.non_torch - max(0.0, kv) - real - warm


def _states_checked(run: EngineRun, rules: Behaviour) -> bool:
    """Whether full CUDA graphs of recurrent layers want a block for each sequence (config/compilation.py, since 0.17)."""
    recurrent = any(isinstance(layer, State) for layer, _ in run.architecture.caches)
    return recurrent and rules.v1 and rules.version >= (0, 17, 0) and not run.enforce_eager


def _oom(run: EngineRun) -> str:
    total = f" GPU 0 has a total capacity of {run.total_gib:.2f} GiB" if run.total_gib is not None else ""
    return f"torch.OutOfMemoryError: CUDA out of memory.{total}"


def _no_kv() -> str:
    return "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."


def _too_small(resolved: Resolved, paged: Pool, *, kv: float) -> str:
    length, usable = resolved.max_model_len, max(0.0, kv) * GIB
    if not resolved.rules.v1:
        return (
            f"The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in KV cache "
            f"({paged.tokens(usable, length)}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`."
        )
    return (
        f"To serve at least one request with the model's max seq len ({length}), ({paged.needed_bytes(length) / GIB:.2f} GiB KV cache is "
        f"needed, which is larger than the available KV cache memory ({kv:.2f} GiB). Based on the available memory, the estimated maximum "
        f"model length is {paged.largest_len(usable)}."
    )


def _notes(run: EngineRun, resolved: Resolved) -> tuple[str, ...]:
    notes = [f"not modelled: {what}; tokens are not answered and the band is wide" for what in run.architecture.unmodelled]
    if run.total_gib is None and run.kv_cache_memory_gib is None:
        notes.append("the card is not known: no KV cache size")
    if run.kv_cache_memory_gib is not None and not resolved.rules.kv_memory_flag:
        notes.append("--kv-cache-memory-bytes exists since vLLM 0.10.2")
    if run.kv_cache_dtype.startswith(("turboquant", "ultraquant")):
        notes.append(f"not modelled: the packed pages of {run.kv_cache_dtype}")
    if resolved.rules.accounting == "device":
        notes.append("this version charges the engine for what other processes hold of the card")
    return tuple(notes)
