"""The arithmetic of one engine on a card, in numbers and in words."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from stacks.plan import MemoryPlan
from stacks.planning.draft import Notes, gib
from stacks.planning.engines.vllm.memory import Condition, Prediction, Verdict

if TYPE_CHECKING:
    from stacks.planning.engines.vllm.gpu_draft import GpuDraft


def memory_plan(draft: GpuDraft, prediction: Prediction, *, neighbours: float) -> MemoryPlan:
    """The parts of the card as the predictor sees them; what is neither weights, activations, KV cache, serving
    peak nor outside counts as CUDA graphs.
    """
    kv = max(prediction.kv_gib or 0.0, 0.0)
    held = max(0.0, (prediction.in_use_gib or 0.0) - prediction.outside_gib)
    serving = prediction.serving_peak_gib
    inside = prediction.weights_gib + prediction.activation_gib + prediction.non_torch_gib
    graphs = prediction.graphs_estimate_gib if draft.pinned is not None else max(0.0, held - inside - serving - kv)
    band = (
        draft.band
        if draft.pinned is not None
        else max(draft.band, draft.fixed - inside - serving - graphs - prediction.outside_gib)
    )
    return MemoryPlan(
        device="gpu",
        total_gib=round(draft.total, 3),
        desktop_gib=round(draft.desktop, 3),
        neighbours_gib=round(neighbours, 3),
        context_gib=round(prediction.outside_gib, 3),
        budget_gib=round(inside + serving + graphs + kv + band, 3),
        weights_gib=round(prediction.weights_gib, 3),
        activation_gib=round(prediction.activation_gib, 3),
        non_torch_gib=round(prediction.non_torch_gib, 3),
        cuda_graphs_gib=round(graphs, 3),
        serving_peak_gib=round(serving, 3),
        error_band_gib=round(band, 3),
        kv_cache_gib=round(kv, 3),
        kv_needed_gib=round(prediction.kv_needed_gib, 3),
        kv_tokens=prediction.kv_tokens or 0,
        concurrency=floor((prediction.concurrency or 0.0) * 100) / 100,
    )


def arithmetic(draft: GpuDraft, prediction: Prediction) -> str:
    """`8.00 GiB card - 1.25 desktop - ...`, up to what is left for the KV cache."""
    parts = {
        "weights": prediction.weights_gib,
        "activations": prediction.activation_gib,
        "non-torch": prediction.non_torch_gib,
    }
    if draft.pinned is not None:
        parts |= {"CUDA graphs": prediction.graphs_estimate_gib}
        begin = f"{draft.pinned:.2f} x {gib(draft.total)} = {gib(prediction.budget_gib or 0.0)} budget"
    else:
        outside = draft.fixed - sum(parts.values()) - draft.band
        parts = {
            "desktop and driver": draft.desktop,
            **parts,
            "CUDA context and graphs": outside,
            "error band": draft.band,
        }
        begin = f"{gib(draft.total)} card"
    return begin + "".join(f" - {gib(size)} {name}" for name, size in parts.items())


def refuse(draft: GpuDraft, prediction: Prediction, notes: Notes) -> None:
    """Why this engine does not start, with the arithmetic and vLLM's sentence; for a call that is too close, the
    band.
    """
    spec, card = draft.spec, draft.gpu.name
    left, needed = prediction.kv_gib or 0.0, prediction.kv_needed_gib
    said = f"; vLLM would refuse: {prediction.sentence}" if prediction.sentence else ""
    shown = arithmetic(draft, prediction)
    if draft.pinned is None:
        free = draft.total - draft.desktop - draft.fixed
        head = (
            f"one request of {draft.run.max_model_len} tokens needs {gib(draft.kv_least)} of KV cache, and "
            f"{gib(free)} are available on {card}"
        )
        said = (
            said
            or "; vLLM would refuse: To serve at least one request with the model's max seq len, more KV cache is "
            "needed."
        )
        text = f"{head}: {shown} = {gib(free)}"
    elif prediction.failed is Condition.FREE_MEMORY:
        text = (
            f"pin.gpuMemoryUtilization {draft.pinned:.2f} x {gib(draft.total)} = {gib(prediction.budget_gib or 0.0)}, "
            f"and {gib(draft.run.free_gib or 0.0)} are free beside the desktop and driver ({gib(draft.desktop)}) and "
            f"the engine's own CUDA context ({gib(draft.context)})"
        )
    elif prediction.failed is Condition.KV_TOO_SMALL:
        text = (
            f"one request of {draft.run.max_model_len} tokens needs {gib(needed)} of KV cache, and {gib(left)} are "
            f"available on {card}: {shown}"
        )
    else:
        reason = prediction.failed.value if prediction.failed else "it does not fit"
        text = (
            f"{reason} on {card}: {shown} = {gib(left)} for the KV cache, and one request of "
            f"{draft.run.max_model_len} tokens needs {gib(needed)}"
        )
    if prediction.verdict is Verdict.TOO_CLOSE:
        margin = f"{prediction.margin_gib:+.2f} GiB" if prediction.margin_gib is not None else "unknown"
        said = (
            f"; too close to call: the margin is {margin} and the error band {gib(draft.band)}, so that the plan "
            f"does not rely on it" + said.replace("vLLM would refuse:", "where it fails, vLLM says:")
        )
    notes.refuse(f"{spec.name}: {text}{said}")
