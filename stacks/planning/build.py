"""Settings and catalogue to Plan: the one function that decides a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from stacks import names
from stacks.catalog import Catalog, load
from stacks.errors import CatalogError, PlanError
from stacks.measured import Start
from stacks.plan import (
    ClaimCachePlan,
    ExistingPlan,
    KubernetesPlan,
    MachinePlan,
    ModelCachePlan,
    ModelPlan,
    NvidiaPlan,
    Plan,
    TargetPlan,
)
from stacks.planning.alternatives import alternatives
from stacks.planning.budgets import check_budgets
from stacks.planning.clusters import DRIVERS
from stacks.planning.clusters.existing import claim_budget, with_needs
from stacks.planning.draft import Inputs, Notes, linux_memory_gib
from stacks.planning.engines import ENGINES
from stacks.planning.engines.build import Engines, plan_engines
from stacks.planning.gateway import aliases_of, gateway_changes, plan_gateway
from stacks.planning.gpus.device_plugin import plan_device_plugin, plan_runtime_class
from stacks.planning.gpus.host import host_plan
from stacks.planning.gpus.sharing import plan_sharing, seen_by_engines
from stacks.planning.gpus.sharing_rules import unsupported
from stacks.planning.host_changes import host_changes
from stacks.settings import CpuMachine, NvidiaMachine, Settings

# only a label: a local volume enforces no size, and a claim whose size follows the models could never shrink
_CACHE_CAPACITY_GIB = 1024
_MOST_REPLICAS = 64


def build_plan(
    settings: Settings,
    *,
    stack: str,
    secrets: frozenset[str] = frozenset(),
    catalog: Catalog | None = None,
    measured: tuple[Start, ...] = (),
) -> Plan:
    """The plan of `stack`. `secrets` names the secret keys that the stack holds (never their values); `measured` is
    what
    earlier starts of the stack printed.

    Raises PlanError with every refusal and with settings that
    work instead, CatalogError for names that the catalogue does not know.
    """
    inputs = Inputs(stack, settings, catalog or load(), secrets, measured)
    _check_names(inputs)

    def plans(changed: Settings) -> bool:
        return not _decide(replace(inputs, settings=changed))[1]

    def refused(changed: Settings) -> bool:
        return any(unsupported(replace(inputs, settings=changed)))

    plan, refusals = _decide(inputs)
    if refusals or plan is None:
        raise PlanError(
            refusals, stack=stack, alternatives=alternatives(settings, inputs.catalog, plans, refused=refused)
        )
    if settings.objective == "replicas" and (more := _most_replicas(settings, plans)) != settings:
        plan = _decide(replace(inputs, settings=more))[0] or plan
    return plan


def try_plan(settings: Settings, *, stack: str, catalog: Catalog) -> tuple[Plan | None, list[str]]:
    """The plan, or None and every refusal, without a search for alternatives: for those who ask about many settings."""
    inputs = Inputs(stack, settings, catalog, frozenset())
    _check_names(inputs)
    return _decide(inputs)


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
        *(
            (inputs.catalog.model, second, f"models[{n}]: the second model")
            for n, m in enumerate(inputs.settings.models)
            if (second := ENGINES[m.engine].second_model(m))
        ),
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


def _decide(inputs: Inputs) -> tuple[Plan | None, list[str]]:
    settings, notes = inputs.settings, Notes()
    linux_memory = linux_memory_gib(settings.machine, inputs.catalog, notes)
    driver = DRIVERS[settings.cluster.driver]
    cluster = driver.plan(inputs, linux_memory, notes)
    enforced = driver.enforces_network_policy(inputs)
    if isinstance(cluster, KubernetesPlan) and not enforced:
        value, reason = "stored, not enforced", "nothing filters what pods send to each other"
        if enforced is None:
            value, reason = "stored; enforced or not is unknown", "no API tells what the cluster's network filters"
        reason += ": the policies take effect on a network that enforces them"
        notes.decide("cluster.networkPolicy", value, "degraded", f"the network of {driver.name}", reason)
    seen = seen_by_engines(inputs, notes)
    engines = plan_engines(seen, cluster.address, notes)
    models = engines.models
    nvidia = _nvidia(inputs, engines, notes)
    # where a card is offered to several pods, any two of them may meet there
    shares = engines.shared or (nvidia is not None and nvidia.sharing.kind in ("timeSlicing", "mps"))
    gateway = plan_gateway(inputs, cluster, models, notes)
    if gateway:
        models = tuple(
            model.model_copy(update={"endpoint": gateway.url, "aliases": aliases_of(gateway, model.name)})
            for model in models
        )
    shared = check_budgets(
        models, inputs, linux_memory, notes, one_at_a_time=shares, gateway=gateway, claimed=cluster.foreign
    )
    budgets = (*engines.budgets, *shared)
    if isinstance(cluster, ExistingPlan):
        budgets = (*budgets, claim_budget(cluster, models, notes))
        cluster = with_needs(cluster, models, least_driver=_least_driver(inputs))
    if settings.objective == "replicas":
        notes.decide("objective", "replicas", "stated", "stack file", _replica_words(models, shared=shares))
    auth: Literal["apiKey", "clientKeys", "none"] = "apiKey" if "apiKey" in inputs.secrets else "none"
    reach = _reach(cluster)
    if gateway:
        auth = "clientKeys"
        reason = f"./lab keys {inputs.stack} add NAME; clients send Authorization: Bearer, engines see a key of ours"
        notes.decide("endpoint.auth", "a key for each client", "default", "the lab", reason)
    elif auth == "none":
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
        machine=_machine(seen, linux_memory),
        cluster=cluster,
        nvidia=nvidia,
        model_cache=_model_cache(inputs, cluster),
        models=models,
        cards=engines.cards,
        shared_cards=shares,
        budgets=budgets,
        gateway=gateway,
        auth=auth,
        consent=settings.host_changes,
        hugging_face_token="huggingFaceToken" in inputs.secrets,
        host_changes=(*host_changes(inputs, cluster, nvidia, models), *gateway_changes(gateway, cluster)),
        decisions=tuple(notes.decisions),
    ), []


def _reach(cluster: TargetPlan) -> str:
    if cluster.foreign:
        return "published nowhere; open to pods of its namespace, and to those who may forward ports there"
    return f"published on {cluster.address}, and open to every user and pod of this machine"


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


def _nvidia(inputs: Inputs, engines: Engines, notes: Notes) -> NvidiaPlan | None:
    if not isinstance(inputs.settings.machine, NvidiaMachine):
        return None
    runtime = DRIVERS[inputs.settings.cluster.driver].nvidia_runtime
    sharing = plan_sharing(inputs, engines.models, engines.cards, notes)
    return NvidiaPlan(
        gpus=inputs.settings.machine.gpus,
        device_plugin=plan_device_plugin(inputs, sharing, notes),
        sharing=sharing,
        runtime_class=plan_runtime_class(inputs, notes),
        host=host_plan(inputs, runtime, least_driver=_least_driver(inputs)),
    )


def _least_driver(inputs: Inputs) -> int | None:
    """The first number of the oldest driver that all of the stack's images run on."""
    engines = (ENGINES[model.engine].image(model, inputs) for model in inputs.settings.models)
    return max((engine.minimum_driver.value for engine in engines if engine.minimum_driver), default=None)


def _model_cache(inputs: Inputs, cluster: TargetPlan) -> ModelCachePlan | ClaimCachePlan:
    settings = inputs.settings
    if isinstance(cluster, ExistingPlan):
        claim = cluster.claim
        return ClaimCachePlan(
            name=names.model_claim(claim.storage_class, claim.access_mode),
            class_name=claim.storage_class,
            access_mode=claim.access_mode,
            capacity_gib=claim.size_gib,
        )
    name = names.model_cache(settings.model_cache.path)
    return ModelCachePlan(
        name=name,
        volume=f"{names.namespace(inputs.stack)}-{name}",
        storage_class=names.namespace(inputs.stack),
        host_path=settings.model_cache.path,
        node_path=DRIVERS[settings.cluster.driver].cache_path_on_node(inputs),
        capacity_gib=_CACHE_CAPACITY_GIB,
    )
