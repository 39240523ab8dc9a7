"""The nearest settings that work: single edits of the stack file, else pairs, else fewer models. Each one was
planned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from stacks.catalog import Catalog
from stacks.errors import Alternative, Edit, SettingsError
from stacks.planning.draft import Inputs
from stacks.planning.edits import apply_edits
from stacks.planning.engines import ENGINES
from stacks.planning.substitutes import substitutes
from stacks.settings import CpuMachine, GpuSettings, Mig, Mps, NvidiaMachine, Settings, TimeSlicing, VllmModel

_MOST = 7
_MOST_TRIED = 2500  # models planned in one search: about two seconds
_STEP_TOKENS = 128
_FEW_REQUESTS = 8
_EXTRAS = ("replicas", "pin", "kvCacheDtype", "trustRemoteCode", "revision", "priority")

Value = str | int | bool | None
Works = Callable[[Sequence[Edit]], bool]
Asked = Callable[[Settings], bool]


@dataclass(frozen=True)
class Knob:
    """A line of the stack file and what it may say instead, the nearest value first; where one works, those after it
    do. `words` describe it, with {} for the value; `also` are edits that go with it.
    """

    path: str
    values: Sequence[Value]
    words: str = ""
    also: tuple[Edit, ...] = ()

    def at(self, value: Value) -> Alternative:
        text = (self.words or f"{self.path}: {{}}").format("true" if value is True else value)
        return Alternative(text, (Edit(self.path, value), *self.also))

    def excludes(self, other: Knob) -> bool:
        """Whether both are of one line, or one takes out the model of the other."""
        return f"{self.path}.".startswith(f"{other.path}.") or f"{other.path}.".startswith(f"{self.path}.")


def alternatives(
    settings: Settings, catalog: Catalog, plans: Asked, *, refused: Asked = lambda _: False
) -> list[Alternative]:
    """Up to seven proposals, the nearest first: single edits; pairs where no single one helps; else fewer models.

    `plans` says whether settings can be planned. `refused` says at once that they cannot, whatever their models are: no
    try is spent on them, so that only edits are left that mend what was refused.
    """
    # as the file has it: a default written out may be refused, as an empty list is
    own = settings.model_dump(mode="json", by_alias=True, exclude_unset=True)
    left = _MOST_TRIED

    def works(edits: Sequence[Edit]) -> bool:
        nonlocal left
        if left <= 0:  # a count and no clock, so that the same file gets the same answer on every machine
            return False
        try:
            changed = Settings.from_config(apply_edits(own, edits))
        except SettingsError:
            return False
        if refused(changed):
            return False
        left -= len(changed.models)
        return plans(changed)

    fewer = _fewer_models(settings, works)  # before the search has used up its tries
    knobs = [knob for knob in _knobs(settings, catalog) if knob.values]
    if found := _singles(knobs, works) or _pairs(knobs, works):
        return found[:_MOST]
    left = _MOST_TRIED
    last = fewer or _one_model(settings, catalog, works)
    return [last] if last else []


def _nearest(knob: Knob, works: Works, beside: Sequence[Edit] = ()) -> Alternative | None:
    def helps(value: Value) -> bool:
        return works((*beside, *knob.at(value).edits))

    last = len(knob.values) - 1
    return (
        knob.at(knob.values[bisect_left(knob.values, True, hi=last, key=helps)]) if helps(knob.values[last]) else None
    )


def _singles(knobs: Sequence[Knob], works: Works) -> list[Alternative]:
    found: dict[str, Alternative] = {}
    for knob in knobs:
        if knob.path not in found and (nearest := _nearest(knob, works)):
            found[knob.path] = nearest
    return list(found.values())


def _pairs(knobs: Sequence[Knob], works: Works) -> list[Alternative]:
    """Two edits each: the first is as bold as can be while the second is sought, and then taken back. So that they
    differ, a line is the first of one pair only, and a model is left out in one pair only.
    """
    found: list[Alternative] = []
    used: set[str] = set()
    for one, other in combinations(knobs, 2):
        if len(found) == _MOST or one.excludes(other) or used & {one.path, other.path}:
            continue
        boldest = one.at(one.values[-1])
        if second := _nearest(other, works, boldest.edits):
            pair = [_nearest(one, works, second.edits) or boldest, second]
            pair.sort(key=lambda part: not part.edits[0].path.endswith("]"))  # what is left out is said first
            found.append(Alternative(f"{pair[0].text}, and {pair[1].text}", (*pair[0].edits, *pair[1].edits)))
            used |= {one.path, *(path for path in (other.path,) if path.endswith("]"))}
    return found


def _fewer_models(settings: Settings, works: Works) -> Alternative | None:
    """The first models of the file with one replica each, as many as work."""
    models = settings.models
    once = [Edit(f"models[{n}].replicas", 1) for n in range(len(models))]
    rest = [Edit(f"models[{n}]", None) for n in range(len(models))]
    kept = bisect_left(range(1, len(models)), True, key=lambda n: not works((*once[:n], *rest[n:])))
    if not kept:
        return None
    edits = [edit for edit, model in zip(once[:kept], models, strict=False) if model.replicas > 1]
    names = ", ".join(model.name for model in models[:kept])
    return Alternative(f"only {names}, with one replica each", (*edits, *rest[kept:]))


def _one_model(settings: Settings, catalog: Catalog, works: Works) -> Alternative | None:
    """The first model alone and with nothing else asked for, itself if that works, else the nearest one that does."""
    model = settings.models[0]
    device, use = "cuda" if settings.machine.kind == "nvidia" else "cpu", catalog.model(model.model).use
    kin = [(-m.weights_gib.value, n) for n, m in catalog.models.items() if m.use == use and device in m.devices]
    names = (model.model, *substitutes(model.model, settings.machine.kind, catalog), *(name for _, name in sorted(kin)))
    plain = [Edit("models[0].concurrentRequests", min(model.concurrent_requests, _FEW_REQUESTS))]
    plain += [Edit(f"models[0].{key}", None) for key in _EXTRAS]
    plain += [Edit(f"models[{n}]", None) for n in range(1, len(settings.models))]
    for name in dict.fromkeys(names):
        for context in sorted({min(model.context_tokens, n) for n in (model.context_tokens, 4096, 2048)}, reverse=True):
            edits = (Edit("models[0].model", name), Edit("models[0].contextTokens", context), *plain)
            rest = ", without the other models" if len(settings.models) > 1 else ""
            text = f"models[0]: {name} with {context} tokens, one replica, nothing pinned{rest}"
            if works(edits):
                return Alternative(text, edits)
            for knob in _memory_knobs(settings.machine):
                if more := _nearest(knob, works, edits):
                    return Alternative(f"{text}, and {more.text}", (*edits, *more.edits))
    return None


def _knobs(settings: Settings, catalog: Catalog) -> Iterator[Knob]:
    for index, model in enumerate(settings.models):
        yield from _model_knobs(f"models[{index}]", model, settings, catalog)
    machine, engines = settings.machine, sum(m.replicas for m in settings.models)
    yield from _memory_knobs(machine)
    yield from _hardware_knobs(settings, catalog)
    if settings.gateway.kind != "none":
        yield Knob("gateway", (None,), "no gateway: each model on a port of its own")
    yield from _gpu_knobs(settings.gpu)
    sharable = isinstance(machine, NvidiaMachine) and not machine.shared_card and settings.gpu.sharing.kind == "none"
    if isinstance(machine, NvidiaMachine) and sharable and engines > machine.gpus:
        yield Knob("machine.sharedCard", (True,))
    if len(settings.models) > 1:
        for index in reversed(range(len(settings.models))):  # what was added last is what a reviewer would drop
            yield Knob(f"models[{index}]", (None,), f"without {settings.models[index].name}")


def _gpu_knobs(gpu: GpuSettings) -> Iterator[Knob]:
    sharing = gpu.sharing
    if isinstance(sharing, Mps | Mig):
        profile = (Edit("gpu.sharing.profile", None),) if isinstance(sharing, Mig) else ()
        yield Knob("gpu.sharing.kind", ("timeSlicing",), also=profile)
    if isinstance(sharing, TimeSlicing | Mps) and sharing.replicas is not None:
        yield Knob("gpu.sharing.replicas", (None,), "no gpu.sharing.replicas: as many shares as engines meet on a card")
    if gpu.device_plugin is not None:
        yield Knob("gpu.devicePlugin", (None,), "no gpu.devicePlugin: what suits the driver")
    if gpu != GpuSettings():
        yield Knob("gpu", (None,), "no gpu settings: the driver's device plugin, each engine on a card of its own")


def _hardware_knobs(settings: Settings, catalog: Catalog) -> Iterator[Knob]:
    """A newer driver, and the nearest card that holds it all: by memory, and no older than the present one."""
    machine = settings.machine
    if not isinstance(machine, NvidiaMachine):
        return
    images = {ENGINES[m.engine].image(m, Inputs("", settings, catalog, frozenset())) for m in settings.models}
    least = max((image.minimum_driver.value for image in images if image.minimum_driver), default=0)
    if machine.nvidia_driver and int(machine.nvidia_driver.split(".")[0]) < least:
        yield Knob("machine.nvidiaDriver", (str(least),), "machine.nvidiaDriver: '{}' (install that driver first)")
    here = catalog.gpu(machine.gpu)
    memory = here.memory.get(machine.platform)
    larger = [
        (fact.value, name)
        for name, gpu in catalog.gpus.items()
        if (fact := gpu.memory.get(machine.platform)) and (memory is None or fact.value > memory.value)
        if gpu.capability >= here.capability and gpu.unified_memory == here.unified_memory
    ]
    yield Knob("machine.gpu", [name for _, name in sorted(larger)], "machine.gpu: {} (another card)")


def _memory_knobs(machine: CpuMachine | NvidiaMachine) -> Iterator[Knob]:
    if isinstance(machine, NvidiaMachine) and machine.platform == "wsl2":
        more = range((machine.wsl_memory_gib or machine.memory_gib // 2) + 1, machine.memory_gib - 2)
        if more:
            yield Knob("machine.wslMemoryGiB", more, "machine.wslMemoryGiB: {0} (and memory={0}GB in .wslconfig)")


def _model_knobs(where: str, model: VllmModel, settings: Settings, catalog: Catalog) -> Iterator[Knob]:
    pins = {"gpuMemoryUtilization": model.pin.gpu_memory_utilization, "memoryLimitGiB": model.pin.memory_limit_gib}
    for name, value in pins.items():
        if value is not None:
            yield Knob(f"{where}.pin.{name}", (None,), f"{where}: no pin.{name}, let it be derived")
    yield Knob(f"{where}.replicas", range(model.replicas - 1, 0, -1))
    if model.tensor_parallel is not None:
        yield Knob(f"{where}.tensorParallel", (None,), f"{where}: no tensorParallel, as many cards as it needs")
    longest = (model.context_tokens - 1) // _STEP_TOKENS * _STEP_TOKENS
    yield Knob(f"{where}.contextTokens", range(longest, 0, -_STEP_TOKENS))
    requests = model.concurrent_requests
    yield Knob(f"{where}.concurrentRequests", [requests >> n for n in range(1, requests.bit_length())])
    if isinstance(settings.machine, NvidiaMachine):
        for dtype in ("fp8", "fp8_e5m2") if model.kv_cache_dtype == "auto" else ("auto",):
            yield Knob(f"{where}.kvCacheDtype", (dtype,))
        if not model.trust_remote_code:
            yield Knob(f"{where}.trustRemoteCode", (True,))
    revision = (Edit(f"{where}.revision", None),) if model.revision else ()
    for other in substitutes(model.model, settings.machine.kind, catalog):
        yield Knob(f"{where}.model", (other,), also=revision)
