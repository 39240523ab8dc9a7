"""LoRA adapters that one engine serves: what is fetched of them, and how much it is at most.

Their slots on the card are the predictor's (memory/adapters.py); which adapter a request is for says its `model`.
"""

from __future__ import annotations

from stacks import names
from stacks.plan import AdapterPlan, WeightsPlan
from stacks.plan.vllm import LoraModulePlan
from stacks.planning.draft import Notes, gib
from stacks.planning.engines.vllm.memory import Architecture, adapter_file_gib
from stacks.settings import VllmModel


def modules(spec: VllmModel) -> tuple[LoraModulePlan, ...]:
    """What the engine is told of them."""
    asked = spec.lora.modules if spec.lora else ()
    return tuple(LoraModulePlan(name=m.name, folder=names.model_directory(m.repository, m.revision)) for m in asked)


def ram_gib(spec: VllmModel, shape: Architecture) -> float:
    """RAM that they take: --max-cpu-loras is --max-loras, so many are kept in 16 bit, and one is read from its file."""
    if spec.lora is None or not spec.lora.modules:
        return 0.0
    kept = min(spec.lora.adapters, len(spec.lora.modules))
    return (kept / 2 + 1) * adapter_file_gib(shape, spec.lora.rank)


def adapters(spec: VllmModel, shape: Architecture, notes: Notes) -> tuple[AdapterPlan, ...]:
    """What is fetched of them; their files may be smaller, since the stack file says no more than the largest rank."""
    if spec.lora is None or not spec.lora.modules:
        return ()
    asked, each = spec.lora.modules, adapter_file_gib(shape, spec.lora.rank)
    waits = len(asked) > spec.lora.adapters
    said = f"{', '.join(m.name for m in asked)}: clients send the name as `model`"
    more = f"; of {len(asked)} at most {spec.lora.adapters} in one step, requests for others wait" if waits else ""
    notes.decide("loraModules", len(asked), "degraded" if waits else "stated", "stack file", said + more)
    reason = f"each at most: rank {spec.lora.rank} over every projection in 32 bit"
    notes.decide("loraFiles", gib(each), "derived", "config.json of the model", reason)
    return tuple(
        AdapterPlan(
            name=m.name,
            weights=WeightsPlan(
                repository=m.repository,
                revision=m.revision,
                packages=(),
                directory=names.model_directory(m.repository, m.revision),
                download_gib=each,
                largest_rank=spec.lora.rank,
            ),
        )
        for m in asked
    )
