"""Sharing of cards: what engines see of them, how often each is offered, and what must hold for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stacks.catalog import Fact, Gpu
from stacks.catalog.entries import Entries
from stacks.plan import CardPlan, ModelPlan, SharingPlan
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.gpus.sharing_rules import kind_of, unsupported
from stacks.settings import Mig, Mps, NvidiaMachine, TimeSlicing

_EPSILON = 1e-6
_TURNS = "engines take turns on the card: processes and queues of their own, and not more speed"


def seen_by_engines(inputs: Inputs, notes: Notes) -> Inputs:
    """The same inputs with the machine as engines meet it: cards that several may be on, or slices in the place of
    cards. Refuses what the card, the platform or the driver cannot do.
    """
    machine, sharing = inputs.settings.machine, inputs.settings.gpu.sharing
    if not isinstance(machine, NvidiaMachine):
        return inputs
    refused = list(unsupported(inputs))
    notes.refusals += refused
    if isinstance(sharing, Mig):
        return inputs if refused else _sliced(inputs, machine, sharing.profile)
    if inputs.settings.gpu.shares and not machine.shared_card:
        return _with_machine(inputs, machine.model_copy(update={"shared_card": True}))
    return inputs


def plan_sharing(inputs: Inputs, models: Sequence[ModelPlan], cards: Sequence[CardPlan], notes: Notes) -> SharingPlan:
    """How often each card is offered, from what the stack file says and what the engines need; refuses what would let
    more engines on one card than the plan has put there.
    """
    sharing, machine = inputs.settings.gpu.sharing, inputs.settings.machine
    if isinstance(sharing, Mig):
        return _mig(inputs, sharing, notes)
    kind = kind_of(inputs.settings)
    if kind == "none" or not isinstance(machine, NvidiaMachine):
        return SharingPlan()
    need = max((len(card.shares) for card in cards), default=1)
    stated = sharing.replicas if isinstance(sharing, TimeSlicing | Mps) else None
    replicas = stated or need
    if replicas == 1:
        reason = "no card has two engines: each is offered once, to one pod"
        notes.decide("gpu.sharing", "none", "derived", "the placement of engines on cards", reason)
        return SharingPlan()
    _check(kind, replicas, need, models, cards, notes)
    spare = replicas * machine.gpus - sum(len(card.shares) for card in cards)
    source = "stack file" if stated else "the placement of engines on cards"
    notes.decide("gpu.sharing", f"{kind}, {replicas} a card", "stated" if stated else "derived", source, _gain(kind))
    if kind == "mps":
        limit = cards[0].total_gib / replicas if cards else 0.0
        notes.decide(
            "gpu.mps", "not verified with vLLM", "degraded", "NVIDIA/k8s-device-plugin: experimental",
            f"each process may take {gib(limit)}; one that fails takes the others of its card with it "
            "(vllm-project/production-stack#504 reports a failed start)",
        )  # fmt: skip
    if spare > 0:
        notes.decide(
            "gpu.spareShares", spare, "degraded", "gpu.sharing.replicas",
            "other pods may take them, and nothing bounds what these take of a card's memory",
        )  # fmt: skip
    return SharingPlan(kind=kind, replicas=replicas)


def _gain(kind: str) -> str:
    if kind == "mps":
        return "engines run side by side, each with a part of the memory; a fatal fault of one ends all of its card"
    return f"{_TURNS}; no isolation of memory, which the engines' fixed KV caches bound"


def _check(
    kind: str, replicas: int, need: int, models: Sequence[ModelPlan], cards: Sequence[CardPlan], notes: Notes
) -> None:
    if replicas < need:
        notes.refuse(
            f"gpu.sharing.replicas is {replicas}, and {need} engines share a card; write replicas: {need}, or remove "
            "the line: a pod would stay Pending with Insufficient nvidia.com/gpu"
        )
    for model in models:
        if model.resources.gpus > 1:
            notes.refuse(
                f"{model.name}: spans {model.resources.gpus} cards, and of shared cards a pod gets exactly one share "
                "(failRequestsGreaterThanOne): write tensorParallel: 1, or remove gpu.sharing"
            )
    sizes = sorted((s.fixed_gib + s.kv_cache_gib for card in cards for s in card.shares), reverse=True)
    free = min((card.total_gib - card.desktop_gib for card in cards), default=0.0)
    crowd = sum(sizes[:replicas])
    if len(cards) > 1 and crowd > free + _EPSILON:
        notes.refuse(
            f"gpu.sharing: the device plugin and not the plan picks a pod's card, so that any {replicas} engines must "
            f"fit on one: the largest take {gib(crowd)}, and a card has {gib(free)}. Serve one model on the shared "
            "cards, or lower contextTokens or concurrentRequests"
        )
    if kind == "mps" and cards:
        part = cards[0].total_gib / replicas
        over = sorted({s.model for card in cards for s in card.shares if s.fixed_gib + s.kv_cache_gib > part})
        if over:
            notes.refuse(
                f"gpu.sharing: MPS gives each process {gib(part)} (a card's memory by {replicas}), and "
                f"{', '.join(over)} would take {gib(sizes[0])}; use kind: timeSlicing, or fewer replicas"
            )


def _mig(inputs: Inputs, sharing: Mig, notes: Notes) -> SharingPlan:
    machine = inputs.settings.machine
    layout = inputs.catalog.mig.get(machine.gpu) if isinstance(machine, NvidiaMachine) else None
    profile = layout.profiles.get(sharing.profile) if layout else None
    if layout is None or profile is None:  # then it was refused
        return SharingPlan()
    notes.decide(
        "gpu.sharing", f"mig, {profile.instances} x {sharing.profile} a card", "stated", "stack file",
        f"slices of {profile.compute_slices}/{layout.compute_slices} of the processors and {profile.memory_slices}/"
        f"{layout.memory_slices} of the memory ({layout.source}); the hardware isolates them",
    )  # fmt: skip
    notes.decide(
        "gpu.migLayout", "yours to make", "degraded", "NVIDIA MIG User Guide",
        f"on each card, as root: nvidia-smi -mig 1, then nvidia-smi mig -cgi "
        f"{','.join([sharing.profile] * profile.instances)} -C; instances do not outlive a reboot",
    )  # fmt: skip
    return SharingPlan(kind="mig", replicas=profile.instances, profile=sharing.profile)


def _sliced(inputs: Inputs, machine: NvidiaMachine, name: str) -> Inputs:
    """Slices in the place of cards: the parts of memory and processors that a slice has, bandwidth with the memory."""
    gpu, layout = inputs.catalog.gpu(machine.gpu), inputs.catalog.mig[machine.gpu]
    profile = layout.profiles[name]
    key, memory, compute = (
        f"{machine.gpu}-mig-{name}",
        profile.memory_slices / layout.memory_slices,
        profile.compute_slices / layout.compute_slices,
    )
    slice_ = Gpu(
        name=f"{gpu.name} MIG {name}",
        slice_of=machine.gpu,
        compute_capability=gpu.compute_capability,
        nominal_gib=_part(gpu.nominal_gib, memory),
        memory={machine.platform: profile.memory_gib},
        bandwidth_gbs=_part(gpu.bandwidth_gbs, memory),
        tensor_tflops=_part(gpu.tensor_tflops, compute),
        power_w=gpu.power_w,
    )
    sliced = machine.model_copy(update={"gpu": key, "gpus": machine.gpus * profile.instances})
    seen = _with_machine(inputs, sliced)
    return replace(seen, catalog=replace(inputs.catalog, gpus=Entries(inputs.catalog.gpus, {key: slice_})))


def _part(fact: Fact[float], part: float) -> Fact[float]:
    return Fact[float](value=fact.value * part, kind="estimated", ref=f"{part:.3g} of a card's; {fact.ref}")


def _with_machine(inputs: Inputs, machine: NvidiaMachine) -> Inputs:
    return replace(inputs, settings=inputs.settings.model_copy(update={"machine": machine}))
