"""One engine start, predicted: the budget, what it pays for, and whether each start condition holds."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from stacks.planning.engines.vllm.memory.activations import serving_peak_gib
from stacks.planning.engines.vllm.memory.band import band_gib, band_parts
from stacks.planning.engines.vllm.memory.checks import checks
from stacks.planning.engines.vllm.memory.parts import outside_gib, parts_of
from stacks.planning.engines.vllm.memory.resolved import pool_of, resolve, states_checked
from stacks.planning.engines.vllm.memory.run import GIB, EngineRun, Prediction, Verdict


@lru_cache(maxsize=4096)
def predict(run: EngineRun) -> Prediction:
    """What vLLM will do with this run. Raises OldVersionError for a version that is not known."""
    resolved, parts, paged = resolve(run), parts_of(run), pool_of(run)
    length, needed = resolved.max_model_len, paged.needed_bytes(resolved.max_model_len) / GIB
    budget = None if run.total_gib is None else resolved.utilization * run.total_gib
    given = run.kv_cache_memory_gib
    kv = given
    if kv is None and budget is not None:
        kv = budget - parts.weights - parts.activation - parts.non_torch - parts.graphs + (run.offset_gib or 0.0)
    outside = outside_gib(run)
    band = band_gib(run)
    # a given pool is not profiled: what a step takes is beside it, and nothing that compilation took
    activation = parts.activation if given is None else parts.step
    conditions = checks(run, resolved, parts, paged, budget=budget, kv=kv, band=band)
    guess = bool(run.architecture.unmodelled)
    failing = [check for check in conditions if check.margin < (check.band if guess else 0)]
    close = [check for check in conditions if abs(check.margin) < check.band]
    certain = [check for check in failing if check.margin <= -check.band]
    verdict = Verdict.REFUSES if certain else Verdict.TOO_CLOSE if close or kv is None or guess else Verdict.FITS
    shown = next(iter(certain or failing or close), None)
    peak = serving_peak_gib(run, resolved)
    step = activation if kv is not None and (kv > 0 or not paged.groups) else 0.0
    held = None if kv is None else parts.weights + parts.non_torch + kv + outside + step + parts.graphs + peak
    usable = 0.0 if kv is None else max(0.0, kv) * GIB
    return Prediction(
        verdict=verdict,
        fits=kv is not None and not failing,
        failed=shown.condition if shown is not None else None,
        sentence=shown.sentence if shown is not None else None,
        budget_gib=budget,
        weights_gib=parts.weights,
        activation_gib=activation,
        non_torch_gib=parts.non_torch,
        graphs_estimate_gib=parts.graphs,
        kv_gib=kv,
        kv_needed_gib=needed,
        kv_tokens=None if kv is None or guess else paged.tokens(usable, length),
        concurrency=None if kv is None or guess else paged.concurrency(usable, length),
        largest_len=None if kv is None or guess else paged.largest_len(usable),
        outside_gib=outside,
        in_use_gib=held,
        margin_gib=min((check.margin for check in conditions), default=None),
        band_gib=0.0 if given is not None else band,
        serving_peak_gib=peak,
        band_parts=band_parts(run),
        notes=_notes(run),
    )


def kv_needed_gib(run: EngineRun, *, max_model_len: int, requests: int = 1) -> float:
    """GiB of KV cache that `requests` requests of `max_model_len` tokens hold at once: what --kv-cache-memory-bytes
    should say.

    The null block that newer versions hold back is counted, no fewer blocks than bytes (the pool is whole blocks), and
    a block for each of max_num_seqs where graphs of recurrent layers want one.
    """
    paged, resolved = pool_of(run), resolve(run)
    blocks = max(
        requests * paged.blocks_per_request(max_model_len),
        ceil(paged.needed_bytes(max_model_len) / max(1, paged.block_bytes)),
        resolved.seqs if states_checked(run, resolved.rules) else 0,
    )
    return (blocks + 1) * paged.block_bytes / GIB


def largest_len(run: EngineRun, *, kv_gib: float) -> int:
    """The longest max_model_len that a pool of `kv_gib` GiB holds (0: none), not capped by what the model was trained
    for.
    """
    return pool_of(run).largest_len(kv_gib * GIB)


def _notes(run: EngineRun) -> tuple[str, ...]:
    notes = [
        f"not modelled: {what}; tokens are not answered and the band is wide" for what in run.architecture.unmodelled
    ]
    if run.total_gib is None and run.kv_cache_memory_gib is None:
        notes.append("the card is not known: no KV cache size")
    if run.kv_cache_dtype.startswith(("turboquant", "ultraquant")):
        notes.append(f"not modelled: the packed pages of {run.kv_cache_dtype}")
    notes.extend(f"{field} is a guess" for field in sorted(run.assumed))
    return tuple(notes)
