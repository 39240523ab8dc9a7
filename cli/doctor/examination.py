"""Everything that `lab doctor` looks at, in order, as one report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.load import load_plan
from cli.pulumi.backend import state_file
from cli.pulumi.recovery import dead_locks, live_locks
from probes.doctor import CLUSTER, MACHINE, Subject, examine
from probes.doctor.subject import fail, ok, skipped, warn
from probes.kubernetes_api import KubernetesApi
from probes.machine import look
from probes.nvidia import ClusterProbe, HostProbe, Layer, Machine, node
from stacks.catalog import Catalog, load
from stacks.errors import CheckFailed, LabError, PlanError
from stacks.plan import ExistingPlan, NvidiaHostPlan, Plan
from stacks.planning.engines.vllm.images import cuda_images
from stacks.settings import PROJECT
from stacks.settings.stack_file import stack_path

FORMAT: Final = 1
_SECONDS = 4.0  # for an API server of this machine


@dataclass(frozen=True)
class Report:
    """Layers by group, in the order in which each rests on those before it."""

    stack: str | None
    groups: Mapping[str, tuple[Layer, ...]]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of them."""
        return tuple(layer for group in self.groups.values() for layer in group)

    @property
    def state(self) -> str:
        """fail, warn or ok: the worst of the layers."""
        states = {layer.state for layer in self.layers}
        return "fail" if "fail" in states else "warn" if "warn" in states else "ok"

    def to_json(self) -> dict[str, Any]:
        """For machines; new keys may come, none goes or changes its meaning while `format` stays."""
        layers = [{"group": name, **vars(layer)} for name, group in self.groups.items() for layer in group]
        return {"format": FORMAT, "stack": self.stack, "state": self.state, "layers": layers}


@dataclass(frozen=True)
class Case:
    """What was examined, for fixes and for the bundle."""

    root: Path
    subject: Subject
    report: Report


def examined(root: Path, stack: str | None, machine: Machine, api: KubernetesApi | None = None) -> Case:
    """Looks at every layer of the machine, and of the stack where one is named; changes nothing. `api` stands for the
    stack's cluster. Raises LabError (exit code 2) where there is no such stack file.
    """
    catalog, plan = load(root), None
    trouble: tuple[Layer, ...] = ()
    if stack is not None:
        stack_path(root, stack)
        try:
            plan = load_plan(root, stack)[1]
            trouble = (ok("stack-file", f"plan {plan.digest}"),)
        except LabError as error:
            said = error.refusals[0] if isinstance(error, PlanError) else error.message
            trouble = (fail("stack-file", said, "the stack file cannot be planned", f"./lab plan {stack} says more"),)
    subject = _subject(machine, plan, api)
    groups = {"machine": examine(MACHINE, subject)}
    if nvidia := _guarded(_nvidia(subject, catalog)):
        groups["nvidia"] = nvidia
    if stack is not None:
        if plan is not None and isinstance(plan.cluster, ExistingPlan):
            groups["cluster"] = (*examine({"kubectl": CLUSTER["kubectl"]}, subject), *_theirs(plan.stack, plan.cluster))
        else:
            groups["cluster"] = (*examine(CLUSTER, subject), *_guarded(_cards_in_cluster(subject)))
        groups["stack"] = (*trouble, pulumi_state(root, stack))
    return Case(root, subject, Report(stack, groups))


def _theirs(stack: str, cluster: ExistingPlan) -> tuple[Layer, ...]:
    from cli.doctor.foreign import layers

    return _guarded(layers(stack, cluster))


def _subject(machine: Machine, plan: Plan | None, api: KubernetesApi | None) -> Subject:
    if plan is None or plan.target != "kubernetes":
        return Subject(machine, plan)
    if api is not None:
        return Subject(machine, plan, api)
    try:
        found = KubernetesApi.from_kubeconfig(plan.kubernetes.kubeconfig, stack=plan.stack, timeout=_SECONDS)
    except CheckFailed as error:
        return Subject(machine, plan, no_api=error.message)
    return Subject(machine, plan, found)


def _nvidia(subject: Subject, catalog: Catalog) -> Iterator[Layer]:
    """NVIDIA's layers of the machine; none where there is no card, and where the nodes are somebody else's."""
    plan = subject.plan
    if plan is not None:
        wanted = plan.nvidia.host if plan.nvidia else None
    else:
        found = look(subject.machine)
        there = bool(found.cards or found.silent or found.nvidia_device)
        wanted = _wanted(catalog, len(found.cards), wsl=found.wsl, docker=bool(found.docker)) if there else None
    if wanted is None:
        return
    host = HostProbe(subject.machine, wanted, subject.stack)
    for layer in host.layers():
        first = layer.id == "runtime" and layer.state == "fail" and subject.docker is None
        yield skipped("runtime", "Docker first") if first else layer
    if subject.driver == "k3s":
        yield node(host)
    elif subject.driver == "minikube" and plan is not None:
        yield node(host, profile=plan.cluster.name, minikube=str(getattr(plan.cluster, "version", "")))


def _wanted(catalog: Catalog, cards: int, *, wsl: bool, docker: bool) -> NvidiaHostPlan:
    """What a machine needs for its cards whatever stack comes."""
    drivers = [image.minimum_driver.value for image in cuda_images(catalog) if image.minimum_driver]
    return NvidiaHostPlan(
        runtime="docker" if docker else "k3s",
        platform="wsl2" if wsl else "linux",
        gpus=max(1, cards),
        least_driver=min(drivers, default=None),
        steps=(),
        toolkit=str(catalog.fact("nvidiaToolkit.version").value),
        toolkit_least=str(catalog.fact("nvidiaToolkit.least").value),
        toolkit_key=str(catalog.fact("nvidiaToolkit.keyFingerprint").value),
    )


def _cards_in_cluster(subject: Subject) -> Iterator[Layer]:
    plan = subject.plan
    if plan is None or plan.nvidia is None or subject.answering is None:
        return
    wanted = plan.nvidia.host or _wanted(load(), plan.nvidia.gpus, wsl=subject.wsl, docker=False)
    host = HostProbe(subject.machine, wanted, plan.stack)
    space = plan.kubernetes
    yield from ClusterProbe(
        subject.answering,
        host,
        space.node,
        space.namespace,
        plan.nvidia.allocatable,
        plan.nvidia.runtime_class is not None,
    ).layers()


def _guarded(layers: Iterator[Layer]) -> tuple[Layer, ...]:
    """The layers, as far as they can be looked at."""
    found: list[Layer] = []
    try:
        found.extend(layers)
    except Exception as error:  # noqa: BLE001  (the report goes on without the rest)
        found.append(skipped("nvidia", f"cannot be looked at any further: {error}"))
    return tuple(found)


def pulumi_state(root: Path, stack: str) -> Layer:
    """No lock of a dead run, and no operation that one had begun, in a local backend."""
    path = state_file(root, stack)
    if path is None:
        return skipped("pulumi-state", "a remote backend: pulumi stack --show-urns asks it")
    if dead := dead_locks(root, stack):
        cause = "a run of Pulumi was killed and left its lock"
        evidence = f"locked by process {', '.join(map(str, dead))}, which is gone"
        return warn("pulumi-state", evidence, cause, f"./lab up {stack} removes it", "pulumi-lock")
    if living := live_locks(root, stack):
        said = f"locked by process {', '.join(map(str, living))}"
        return warn("pulumi-state", said, "another run works on the stack", "wait for its end")
    if not path.exists():
        return ok("pulumi-state", "nothing is recorded: the stack was never made here")
    try:
        latest = json.loads(path.read_text(encoding="utf-8"))["checkpoint"]["latest"] or {}
    except (OSError, ValueError, KeyError) as error:
        cause = "the file of the state cannot be read"
        return fail("pulumi-state", f"{PROJECT}/{stack}: {error}", cause, f"./lab pulumi stack export -s {stack}")
    pending = latest.get("pending_operations") or []
    evidence = f"{len(latest.get('resources') or [])} resources"
    if pending:
        cause = f"a killed run had begun {len(pending)} operations"
        return warn("pulumi-state", evidence, cause, f"./lab up {stack} forgets them and finds what they made")
    return ok("pulumi-state", f"{evidence}, no lock, nothing pending")
