"""Edits of a stack file that may make a refused plan work; alternatives.py plans them before any is offered."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stacks.catalog import Catalog
from stacks.errors import Alternative, Edit
from stacks.planning.siblings import siblings
from stacks.settings import NvidiaMachine, Settings, VllmModel

_STEP_TOKENS = 128

Works = Callable[[Settings], bool]
Offer = tuple[Alternative, Settings]


def bold_edits(settings: Settings, catalog: Catalog) -> Iterator[Offer]:
    """Edits as large as they can be, for where several things are wrong at once."""
    yield from single_edits(settings, catalog, lambda _: True)
    machine = settings.machine
    if (
        isinstance(machine, NvidiaMachine)
        and machine.platform == "wsl2"
        and (machine.wsl_memory_gib or 0) < machine.memory_gib - 3
    ):
        most = machine.memory_gib - 3
        text = f"machine.wslMemoryGiB: {most} (and memory={most}GB in .wslconfig)"
        changed = machine.model_copy(update={"wsl_memory_gib": most})
        yield Alternative(text, (Edit("machine.wslMemoryGiB", most),)), settings.model_copy(update={"machine": changed})
    for index, model in enumerate(settings.models):
        if model.replicas > 1:
            models = (*settings.models[:index], model.model_copy(update={"replicas": 1}), *settings.models[index + 1 :])
            yield (
                Alternative(f"models[{index}].replicas: 1", (Edit(f"models[{index}].replicas", 1),)),
                settings.model_copy(update={"models": models}),
            )


def single_edits(settings: Settings, catalog: Catalog, works: Works) -> Iterator[Offer]:
    for index, model in enumerate(settings.models):
        yield from _model_edits(settings, index, model, catalog, works)
    yield from _machine_edits(settings, works)
    if len(settings.models) > 1:
        for index, model in reversed(
            list(enumerate(settings.models))
        ):  # what was added last is what a reviewer would drop
            rest = tuple(m for n, m in enumerate(settings.models) if n != index)
            yield (
                Alternative(f"without {model.name}", (Edit(f"models[{index}]", None),)),
                settings.model_copy(update={"models": rest}),
            )


def _machine_edits(settings: Settings, works: Works) -> Iterator[Offer]:
    machine = settings.machine
    if not isinstance(machine, NvidiaMachine):
        return
    if machine.platform == "wsl2":
        for memory in range((machine.wsl_memory_gib or machine.memory_gib // 2) + 1, machine.memory_gib - 2):
            changed = settings.model_copy(update={"machine": machine.model_copy(update={"wsl_memory_gib": memory})})
            if works(changed):
                text = f"machine.wslMemoryGiB: {memory} (and memory={memory}GB in .wslconfig)"
                yield Alternative(text, (Edit("machine.wslMemoryGiB", memory),)), changed
                break
    if not machine.shared_card and sum(m.replicas for m in settings.models) > machine.gpus:
        changed = settings.model_copy(update={"machine": machine.model_copy(update={"shared_card": True})})
        yield Alternative("machine.sharedCard: true", (Edit("machine.sharedCard", True),)), changed


def _model_edits(settings: Settings, index: int, model: VllmModel, catalog: Catalog, works: Works) -> Iterator[Offer]:
    where = f"models[{index}]"

    def changed(**update: object) -> Settings:
        models = (*settings.models[:index], model.model_copy(update=update), *settings.models[index + 1 :])
        return settings.model_copy(update={"models": models})

    def offer(key: str, value: str | int | bool, field: str) -> Offer:
        text = "true" if value is True else value
        return Alternative(f"{where}.{key}: {text}", (Edit(f"{where}.{key}", value),)), changed(**{field: value})

    for field, alias in (("gpu_memory_utilization", "gpuMemoryUtilization"), ("memory_limit_gib", "memoryLimitGiB")):
        if getattr(model.pin, field) is not None:
            text = f"{where}: no pin.{alias}, let it be derived"
            yield (
                Alternative(text, (Edit(f"{where}.pin.{alias}", None),)),
                changed(pin=model.pin.model_copy(update={field: None})),
            )
    if model.replicas > 1:
        fewer = next((n for n in range(model.replicas - 1, 0, -1) if works(changed(replicas=n))), 1)
        yield offer("replicas", fewer, "replicas")
    if (longest := _longest_context(model, lambda n: works(changed(context_tokens=n)))) is not None:
        yield offer("contextTokens", longest, "context_tokens")
    fewer = model.concurrent_requests // 2
    while fewer >= 1:
        if works(changed(concurrent_requests=fewer)):
            yield offer("concurrentRequests", fewer, "concurrent_requests")
            break
        fewer //= 2
    if isinstance(settings.machine, NvidiaMachine):
        for key, value, field in _card_edits(model):
            if works(changed(**{field: value})):
                yield offer(key, value, field)
    for other in siblings(model.model, settings.machine.kind, catalog):
        if works(changed(model=other, revision=None)):
            edits = (Edit(f"{where}.model", other), *((Edit(f"{where}.revision", None),) if model.revision else ()))
            yield Alternative(f"{where}.model: {other}", edits), changed(model=other, revision=None)
            break


def _card_edits(model: VllmModel) -> Iterator[tuple[str, str | bool, str]]:
    """What may help on a card alone, as (key, value, field); the first KV dtype that is legal there is offered by works()."""
    if model.kv_cache_dtype == "auto":
        yield from (("kvCacheDtype", dtype, "kv_cache_dtype") for dtype in ("fp8", "fp8_e5m2"))
    else:
        yield "kvCacheDtype", "auto", "kv_cache_dtype"
    if not model.trust_remote_code:
        yield "trustRemoteCode", True, "trust_remote_code"


def _longest_context(model: VllmModel, works: Callable[[int], bool]) -> int | None:
    """The largest multiple of 128 tokens below the wish that works; need grows with length, so bisection finds it."""
    low, high = 0, (model.context_tokens - 1) // _STEP_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        if works(middle * _STEP_TOKENS):
            low = middle
        else:
            high = middle - 1
    return low * _STEP_TOKENS if low else None
