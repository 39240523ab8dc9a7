"""Settings and catalogue to Plan: the one function that decides a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from stacks import names
from stacks.catalog import Catalog, load
from stacks.errors import CatalogError, PlanError
from stacks.planning.alternatives import alternatives
from stacks.planning.budgets import check_budgets
from stacks.planning.clusters import cluster_address, plan_cluster
from stacks.planning.draft import Inputs, Notes, linux_memory_gib
from stacks.planning.engine import plan_engines
from stacks.planning.host_changes import host_changes
from stacks.planning.plan import MachinePlan, ModelCachePlan, ModelPlan, NvidiaPlan, Plan
from stacks.settings import CpuMachine, EmbeddedCluster, NvidiaMachine, Settings

# only a label: a local volume enforces no size, and a claim whose size follows the models could never shrink
_CACHE_CAPACITY_GIB = 1024
_MOST_REPLICAS = 64


def build_plan(
    settings: Settings,
    *,
    stack: str,
    secrets: frozenset[str] = frozenset(),
    catalog: Catalog | None = None,
    sharing_layer: bool = False,
) -> Plan:
    """The plan of `stack`. `secrets` names the secret keys that the stack holds (never their values).

    `sharing_layer`: plan several engines on one card too, where the stack file wants it. What deploys leaves it False
    until that layer is there; what only shows plans sets it. Raises PlanError with every refusal and with settings that
    work instead, CatalogError for names that the catalogue does not know.
    """
    inputs = Inputs(stack, settings, catalog or load(), secrets)
    _check_names(inputs)

    def plans(changed: Settings) -> bool:
        return not _decide(replace(inputs, settings=changed), sharing_layer=sharing_layer)[1]

    plan, refusals = _decide(inputs, sharing_layer=sharing_layer)
    if refusals or plan is None:
        raise PlanError(refusals, stack=stack, alternatives=alternatives(settings, inputs.catalog, plans))
    if settings.objective == "replicas" and (more := _most_replicas(settings, plans)) != settings:
        plan = _decide(replace(inputs, settings=more), sharing_layer=sharing_layer)[0] or plan
    return plan


def try_plan(
    settings: Settings, *, stack: str, catalog: Catalog, sharing_layer: bool = True
) -> tuple[Plan | None, list[str]]:
    """The plan, or None and every refusal, without a search for alternatives: for those who ask about many settings."""
    inputs = Inputs(stack, settings, catalog, frozenset())
    _check_names(inputs)
    return _decide(inputs, sharing_layer=sharing_layer)


def _most_replicas(settings: Settings, works: Callable[[Settings], bool]) -> Settings:
    """One replica more of each model in turn, the highest priority first, as long as the whole plan works."""
    growing = sorted(range(len(settings.models)), key=lambda n: -settings.models[n].priority)
    while growing:
        for index in tuple(growing):
            model = settings.models[index]
            more = model.model_copy(update={"replicas": model.replicas + 1})
            changed = settings.model_copy(
                update={"models": (*settings.models[:index], more, *settings.models[index + 1 :])}
            )
            if more.replicas <= _MOST_REPLICAS and works(changed):
                settings = changed
            else:
                growing.remove(index)
    return settings


def _check_names(inputs: Inputs) -> None:
    """All unknown catalogue names at once."""
    errors = []
    machine = inputs.settings.machine
    lookups = [(inputs.catalog.gpu, machine.gpu, "machine.gpu")] if isinstance(machine, NvidiaMachine) else []
    for find, name, path in [
        *lookups,
        *((inputs.catalog.model, m.model, f"models[{n}].model") for n, m in enumerate(inputs.settings.models)),
    ]:
        try:
            find(name)
        except CatalogError as error:
            errors.append((path, error))
    if errors:
        raise CatalogError(
            "\n".join(f"{path}: {e.message}" for path, e in errors),
            remedy="\n     ".join(f"{path}: {e.remedy}" for path, e in errors),
        )


def _decide(inputs: Inputs, *, sharing_layer: bool) -> tuple[Plan | None, list[str]]:
    settings, notes = inputs.settings, Notes()
    linux_memory = linux_memory_gib(settings.machine, inputs.catalog, notes)
    cluster = plan_cluster(inputs, linux_memory, notes)
    engines = plan_engines(inputs, cluster_address(inputs), notes, sharing_layer=sharing_layer)
    models = engines.models
    budgets = (*engines.budgets, *check_budgets(models, inputs, linux_memory, notes, one_at_a_time=engines.shared))
    if settings.objective == "replicas":
        notes.decide("objective", "replicas", "stated", "stack file", _replica_words(models, shared=engines.shared))
    auth = "apiKey" if "apiKey" in inputs.secrets else "none"
    reach = f"published on {cluster.address}, and open to every user and pod of this machine"
    if auth == "none":
        notes.decide(
            "endpoint.auth", "none", "degraded", "stack file", f"{reach}; for a key: pulumi config set --secret apiKey"
        )
    else:
        notes.decide(
            "endpoint.auth",
            "bearer key",
            "stated",
            "stack file",
            f"the secret apiKey; {reach}; clients send Authorization: Bearer",
        )
    if settings.host_changes == "allow":
        notes.decide(
            "hostChanges", "allow", "degraded", "stack file", "`up` changes the machine, as root too, without asking"
        )
    if notes.refusals:
        return None, notes.refusals
    return Plan(
        stack=inputs.stack,
        machine=_machine(inputs, linux_memory),
        cluster=cluster,
        nvidia=_nvidia(inputs),
        model_cache=_model_cache(inputs),
        models=models,
        cards=engines.cards,
        shared_cards=engines.shared,
        budgets=budgets,
        auth="apiKey" if auth == "apiKey" else "none",
        consent=settings.host_changes,
        hugging_face_token="huggingFaceToken" in inputs.secrets,
        host_changes=host_changes(inputs, cluster, models),
        decisions=tuple(notes.decisions),
    ), []


def _replica_words(models: Sequence[ModelPlan], *, shared: bool) -> str:
    counts = ", ".join(f"{m.replicas} x {m.name}" for m in models)
    return f"{counts}: as many as all budgets hold" + (
        "; engines of one card share its compute: isolation and shorter queues, not more speed" if shared else ""
    )


def _machine(inputs: Inputs, linux_memory: float) -> MachinePlan:
    machine = inputs.settings.machine
    if isinstance(machine, CpuMachine):
        return MachinePlan(kind="cpu", platform=machine.platform, linux_memory_gib=linux_memory, cpus=machine.cpus)
    gpu = inputs.catalog.gpu(machine.gpu)
    return MachinePlan(
        kind="nvidia",
        platform=machine.platform,
        gpu=machine.gpu,
        gpu_name=gpu.name,
        compute_capability=gpu.compute_capability.value,
        gpus=machine.gpus,
        gpu_total_gib=gpu.memory[machine.platform].value,
        linux_memory_gib=linux_memory,
        cpus=machine.cpus,
    )


def _nvidia(inputs: Inputs) -> NvidiaPlan | None:
    if not isinstance(inputs.settings.machine, NvidiaMachine):
        return None
    image = inputs.catalog.images["nvidia-device-plugin"]
    return NvidiaPlan(
        plugin_image=image.reference,
        plugin_pull_policy=image.pull_policy,
        read_only_root_filesystem=inputs.settings.security.read_only_root_filesystem,
        gpus=inputs.settings.machine.gpus,
        runtime="docker",
    )


def _model_cache(inputs: Inputs) -> ModelCachePlan:
    settings = inputs.settings
    on_host = isinstance(settings.cluster, EmbeddedCluster)
    return ModelCachePlan(
        name=names.model_cache(settings.model_cache.path),
        host_path=settings.model_cache.path,
        node_path=settings.model_cache.path if on_host else names.MODELS_MOUNT,
        capacity_gib=_CACHE_CAPACITY_GIB,
    )
