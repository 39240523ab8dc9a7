"""The nearest settings that work: single edits of the stack file, each one planned before it is offered."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stacks.settings import NvidiaMachine, Settings, VllmModel

_MOST = 4
_STEP_TOKENS = 128

Works = Callable[[Settings], bool]


def alternatives(settings: Settings, works: Works) -> list[str]:
    """Up to four edits, each of which makes the plan work on its own; pairs of edits where no single one does."""
    edits = list(_edits(settings, works))
    found = {changed.model_dump_json(): text for text, changed in edits if works(changed)}
    if not found:
        for text, changed in edits:
            for more, both in _edits(changed, works):
                if more != text and works(both):
                    found.setdefault(both.model_dump_json(), f"{text}, and {more}")
                    break
    return list(found.values())[:_MOST]


def _edits(settings: Settings, works: Works) -> Iterator[tuple[str, Settings]]:
    for index, model in enumerate(settings.models):
        yield from _model_edits(settings, index, model, works)
    machine = settings.machine
    if isinstance(machine, NvidiaMachine) and machine.platform == "wsl2":
        for memory in range((machine.wsl_memory_gib or machine.memory_gib // 2) + 1, machine.memory_gib - 2):
            changed = settings.model_copy(update={"machine": machine.model_copy(update={"wsl_memory_gib": memory})})
            if works(changed):
                yield f"machine.wslMemoryGiB: {memory} (and memory={memory}GB in .wslconfig)", changed
                break
    if len(settings.models) > 1:
        for index, model in reversed(list(enumerate(settings.models))):  # what was added last is what a reviewer would drop
            rest = tuple(m for n, m in enumerate(settings.models) if n != index)
            yield f"without {model.name}", settings.model_copy(update={"models": rest})


def _model_edits(settings: Settings, index: int, model: VllmModel, works: Works) -> Iterator[tuple[str, Settings]]:
    where = f"models[{index}]"

    def changed(**update: object) -> Settings:
        models = (*settings.models[:index], model.model_copy(update=update), *settings.models[index + 1 :])
        return settings.model_copy(update={"models": models})

    for field, alias in (("gpu_memory_utilization", "gpuMemoryUtilization"), ("memory_limit_gib", "memoryLimitGiB")):
        if getattr(model.pin, field) is not None:
            yield f"{where}: no pin.{alias}, let it be derived", changed(pin=model.pin.model_copy(update={field: None}))
    if model.replicas > 1:
        yield f"{where}.replicas: 1", changed(replicas=1)
    if (longest := _longest_context(model, lambda n: works(changed(context_tokens=n)))) is not None:
        yield f"{where}.contextTokens: {longest}", changed(context_tokens=longest)
    fewer = model.concurrent_requests // 2
    while fewer >= 1:
        if works(changed(concurrent_requests=fewer)):
            yield f"{where}.concurrentRequests: {fewer}", changed(concurrent_requests=fewer)
            break
        fewer //= 2


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
