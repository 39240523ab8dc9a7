"""What stands in the stack's way in somebody else's cluster, and what is worth saying: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from host.drivers.existing import gpus, quotas
from host.drivers.existing.observe import Observed, Space
from host.drivers.existing.refusal import Refusal
from host.drivers.existing.rights import role
from stacks import names
from stacks.plan import ExistingPlan

_DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_MOST_NODES = 3


def foreign(space: Space | None, plan: ExistingPlan, stack: str, owner: str) -> Refusal | None:
    """Why the namespace is not this stack's; None where it is, and where there is none."""
    if space is None or (space.stack, space.owner) == (stack, owner):
        return None
    if not space.owner:
        whose = "which the lab did not make"
    elif space.stack == stack:
        whose = "which a stack of the same name made from another machine or checkout"
    else:
        whose = f"which stack {space.stack or '?'} of another checkout made"
    mark = f"{names.STACK_ANNOTATION}={stack} {names.OWNER_ANNOTATION}={owner}"
    return Refusal(
        f"the cluster has a namespace {plan.namespace} already, {whose}",
        f"give the stack another name: git mv Pulumi.{stack}.yaml Pulumi.NAME.yaml; or, where that namespace is this "
        f"stack's all the same: kubectl annotate namespace {plan.namespace} --overwrite {mark}",
    )


def another_cluster(seen_uid: str, recorded: str | None, plan: ExistingPlan, stack: str) -> Refusal | None:
    """Whether the context leads to another cluster than the one that the stack is in."""
    if not recorded or not seen_uid or recorded == seen_uid:
        return None
    return Refusal(
        f"context {plan.context} leads to another cluster now (its UID is {seen_uid[:8]}, the stack was made in "
        f"{recorded[:8]})",
        f"point the context at the first one again, or give the stack here another name: git mv Pulumi.{stack}.yaml "
        f"Pulumi.NAME.yaml; if the first one is gone for good: ./lab pulumi stack rm {stack} --force "
        f"--preserve-config, and rm -r {names.state_folder(stack)}",
    )


def refusals(seen: Observed, plan: ExistingPlan, stack: str, owner: str) -> list[Refusal]:
    """Everything that would fail later, all at once; of a namespace that is another's, nothing else matters."""
    if found := foreign(seen.space, plan, stack, owner):
        return [found]
    return [refusal for layer in layers(seen, plan, stack, owner).values() for refusal in layer]


def layers(seen: Observed, plan: ExistingPlan, stack: str, owner: str) -> dict[str, list[Refusal]]:
    """The same by what was looked at, for `lab doctor`: a layer without a refusal is sound."""
    another = foreign(seen.space, plan, stack, owner)
    return {
        "version": list(_version(seen, plan, stack)),
        "rights": list(_rights(seen, stack)),
        "namespace": [another] if another else list(_namespace(seen, plan, stack)),
        "gpus": [*_gpus(seen, plan, stack), *_runtime_class(seen, plan, stack)],
        "storage": list(_storage(seen, plan, stack)),
        "quota": [] if another else list(_quota(seen, plan, stack)),
    }


def notes(seen: Observed, plan: ExistingPlan) -> list[str]:
    """What could not be looked at: not a reason to stop."""
    unseen = [
        (seen.nodes, "nodes: whether a node has the cards is not checked"),
        (seen.classes, "StorageClasses: whether the claim's class is there is not checked"),
        (
            seen.runtime_classes if plan.pods.runtime_class else (),
            "RuntimeClasses: cluster.runtimeClass is not checked",
        ),
    ]
    return [f"this user may not see {what}" for found, what in unseen if found is None]


def _version(seen: Observed, plan: ExistingPlan, stack: str) -> Iterator[Refusal]:
    again = f"then: ./lab up {stack}"
    if _minor(seen.version) < _minor(plan.oldest):
        yield Refusal(f"the cluster is Kubernetes {seen.version}, and {plan.oldest} is needed", f"upgrade it; {again}")
    if seen.openshift:
        yield Refusal(
            "the cluster is OpenShift, whose security context constraints give each namespace users of its own",
            f"engines run as user {names.ENGINE_UID}: write the context of a cluster without them; {again}",
        )


def _rights(seen: Observed, stack: str) -> Iterator[Refusal]:
    again = f"then: ./lab up {stack}"
    if not seen.uid:
        yield Refusal(
            "this user may not read the namespace kube-system, by whose UID a cluster is known again",
            f"ask the cluster's administrator for get on namespaces; {again}",
        )
    if seen.missing:
        yield Refusal(
            f"this user lacks rights in the cluster: {role(list(seen.missing))}",
            f"ask the cluster's administrator for them (docs: Existing clusters has the role); {again}",
        )


def _namespace(seen: Observed, plan: ExistingPlan, stack: str) -> Iterator[Refusal]:
    again = f"then: ./lab up {stack}"
    if seen.space and seen.space.going:
        remedy = f"kubectl wait --for=delete namespace/{plan.namespace} --timeout=10m; {again}"
        yield Refusal(f"the namespace {plan.namespace} is being deleted", remedy)
    if seen.refused:
        yield Refusal(
            f"the cluster would not take the namespace {plan.namespace}: {seen.refused}",
            f"ask the cluster's administrator, or give the stack another name; {again}",
        )


def _runtime_class(seen: Observed, plan: ExistingPlan, stack: str) -> Iterator[Refusal]:
    wanted, again = plan.pods.runtime_class, f"then: ./lab up {stack}"
    if wanted and seen.runtime_classes is not None and wanted not in seen.runtime_classes:
        there = ", ".join(seen.runtime_classes) or "none"
        remedy = f"write one of them as cluster.runtimeClass, or leave it out; {again}"
        yield Refusal(f"there is no RuntimeClass {wanted}; there are: {there}", remedy)


def _gpus(seen: Observed, plan: ExistingPlan, stack: str) -> Iterator[Refusal]:
    if seen.nodes is None:
        return
    fitting, others = gpus.rooms(seen.nodes, plan)
    if fitting and gpus.placed(fitting, plan):
        return
    wanted = ", ".join(f"{n.replicas} x {n.model} ({n.gpus} GPU, {n.memory_mib} MiB, {n.cpu} CPU)" for n in plan.needs)
    together = "on one node" if plan.pods.one_node else "in all"
    have = [f"{room.node} offers {room.gpus} GPU, {room.memory_mib:.0f} MiB, {room.cpus:g} CPU" for room in fitting]
    have += [f"{why} ({_some(nodes)})" for why, nodes in others.items()]
    remedy = (
        f"write cluster.nodeSelector, machine.gpu or fewer replicas by what is there (kubectl get nodes -L "
        f"nvidia.com/gpu.product -L nvidia.com/gpu.memory); a node pool that is scaled to zero: scale it up first; "
        f"where no node offers {names.GPU}: the cluster's administrator installs NVIDIA's GPU operator; "
        f"then: ./lab up {stack}"
    )
    yield Refusal(f"no room for {wanted} {together}: {'; '.join(have) or 'the cluster has no node'}", remedy)


def _storage(seen: Observed, plan: ExistingPlan, stack: str) -> Iterator[Refusal]:
    if seen.classes is None or seen.bound:
        return
    there = [c["metadata"]["name"] for c in seen.classes]
    listed = f"there are: {', '.join(there)}" if there else "there is none"
    wanted, again = plan.claim.storage_class, f"then: ./lab up {stack}"
    if wanted and wanted not in there:
        yield Refusal(
            f"there is no StorageClass {wanted}; {listed}", f"write one of them as cluster.storage.class; {again}"
        )
    elif not wanted and not any(_is_default(c) for c in seen.classes):
        remedy = f"write one as cluster.storage.class: kubectl get storageclass; {again}"
        yield Refusal(f"the cluster has no default StorageClass; {listed}", remedy)


def _quota(seen: Observed, plan: ExistingPlan, stack: str) -> Iterator[Refusal]:
    if seen.space is None or seen.bound:
        return
    for reason in quotas.short(seen.space.quotas, seen.space.limits, plan):
        remedy = f"ask the cluster's administrator for more, or serve less; then: ./lab up {stack}"
        yield Refusal(f"namespace {plan.namespace}: {reason}", remedy)


def _is_default(storage_class: dict[str, dict[str, dict[str, str]]]) -> bool:
    return (storage_class["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"


def _minor(version: str) -> tuple[int, int]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _some(nodes: list[str]) -> str:
    more = f" and {len(nodes) - _MOST_NODES} more" if len(nodes) > _MOST_NODES else ""
    return ", ".join(nodes[:_MOST_NODES]) + more
