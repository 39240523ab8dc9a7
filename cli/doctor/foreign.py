"""What `lab doctor` says of a cluster that is somebody else's: the checks of its driver, a line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from host.drivers.existing.driver import seen_by_layer
from host.drivers.existing.gpus import rooms
from host.drivers.existing.observe import Observed
from host.drivers.existing.refusal import Refusal
from probes.doctor.subject import fail, ok, skipped
from probes.nvidia import Layer
from stacks.errors import HostError
from stacks.plan import ExistingPlan

_CAUSES: Final = {
    "version": "the cluster lacks what the stack's objects need",
    "rights": "the API server would refuse what `up` makes",
    "namespace": "the stack's namespace cannot be had",
    "gpus": "the engines' pods would stay Pending",
    "storage": "the claim of the model cache would stay Pending",
    "quota": "the namespace's quota would keep pods out",
}


def layers(stack: str, plan: ExistingPlan) -> Iterator[Layer]:
    """Every layer; looks at the user's own kubeconfig, so that it works before `up` too."""
    try:
        seen, found = seen_by_layer(stack, plan)
    except HostError as error:
        yield fail("cluster", error.message, "nobody answers there, or does not know who asks", error.remedy)
        return
    yield ok("cluster", f"Kubernetes {seen.version}, context {plan.context}")
    for name, refusals in found.items():
        yield _layer(name, refusals, _evidence(seen, plan))


def _layer(name: str, refusals: list[Refusal], evidence: Mapping[str, str | None]) -> Layer:
    if refusals:
        return fail(name, "; ".join(r.reason for r in refusals), _CAUSES[name], refusals[0].remedy)
    said = evidence[name]
    return skipped(name, "this user may not see it") if said is None else ok(name, said)


def _evidence(seen: Observed, plan: ExistingPlan) -> dict[str, str | None]:
    """What was seen of each layer; None where it may not be looked at."""
    nodes = None if seen.nodes is None else rooms(seen.nodes, plan)[0]
    classes = None if seen.classes is None else ", ".join(c["metadata"]["name"] for c in seen.classes)
    space = f"{plan.namespace} is this stack's" if seen.space else f"{plan.namespace} is free"
    return {
        "version": f"{seen.version}, and {plan.oldest} is the oldest that works",
        "rights": "everything that `up` makes may be made",
        "namespace": space,
        "gpus": None if nodes is None else ", ".join(f"{room.node}: {room.gpus} GPU" for room in nodes),
        "storage": classes,
        "quota": f"{len(seen.space.quotas) if seen.space else 0} quotas, none too small",
    }
