"""A cluster that somebody else made and keeps: EKS, GKE, AKS, a campus cluster. It is checked, and nothing of it is
changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from stacks import names
from stacks.catalog import Catalog
from stacks.plan import (
    BudgetPlan,
    ClaimPlan,
    ExistingPlan,
    HostChange,
    ModelPlan,
    NvidiaRuntime,
    PodNeedPlan,
    PodsPlan,
)
from stacks.planning.clusters.driver import common, pulled_image
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.gpus.product import distinctive_words
from stacks.settings import ExistingCluster, NvidiaMachine

VERSION: Final = "latest"
"""What Pod Security is pinned to where the plan cannot know the cluster's version: the cluster's own newest."""

_PARTIAL = 1.2  # the claim keeps a partial download beside the file, as the machine's cache does


class Existing:
    """For clusters in the cloud and on a campus."""

    name: ClassVar[str] = "existing"
    title: ClassVar[str] = "a cluster that is there already, in one namespace of its own"
    deployable: ClassVar[bool] = True
    nvidia_runtime: ClassVar[NvidiaRuntime | None] = None
    provider_fact: ClassVar[str] = "existing.kubernetesProvider"
    eviction_fact: ClassVar[str] = "eviction.existing"

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> ExistingPlan:
        """The slice; what the models ask for is added by `with_needs` once they are planned."""
        wanted, catalog, machine = _settings(inputs), inputs.catalog, inputs.settings.machine
        assert isinstance(machine, NvidiaMachine)  # noqa: S101  (the settings see to it)
        gpu, oldest = catalog.gpu(machine.gpu), catalog.fact("existing.oldestKubernetes")
        reserved = self.system_memory(inputs)
        notes.decide(
            "cluster.kubernetes", "the cluster's own", "stated", "stack file",
            f"{oldest.value} or newer, which `up` checks: {oldest.source}",
        )  # fmt: skip
        notes.decide(
            "cluster.nodeReserved", gib(reserved), "derived", catalog.fact("existing.reservedMemory").source,
            f"of {gib(linux_memory)} of a node, for the kubelet, the system and the cluster's own pods",
        )  # fmt: skip
        notes.decide(
            "devicePlugin", "existing", "default", "the cluster",
            "the cluster's own: nvidia.com/gpu must be allocatable there, and nothing of NVIDIA is installed",
        )  # fmt: skip
        storage = wanted.storage
        notes.decide(
            "modelCache", f"{storage.size_gib} GiB, {storage.access_mode}",
            "stated" if "storage" in wanted.model_fields_set else "default", "cluster.storage",
            f"a claim of {storage.storage_class or 'the default StorageClass'}; it goes with the stack, weights too",
        )  # fmt: skip
        notes.decide(
            "network.egress", "DNS and HTTPS", "degraded", "the model cache is in the cluster",
            "an init container fetches weights from the Hub, and a policy holds for all containers of a pod alike",
        )  # fmt: skip
        return ExistingPlan(
            name=wanted.context,
            **common(inputs, self),
            node="",
            kubernetes=VERSION,
            context=wanted.context,
            source_kubeconfig=wanted.kubeconfig,
            oldest=str(oldest.value),
            gpu_name=gpu.name,
            gpu_words=distinctive_words(gpu.name),
            gpu_total_gib=gpu.memory["linux"].value,
            pods=PodsPlan(
                node_selector=wanted.node_selector,
                tolerations=(names.GPU, *wanted.tolerations),
                runtime_class=wanted.runtime_class,
                scheduler=wanted.scheduler,
                one_node=storage.access_mode == "ReadWriteOnce",
            ),
            claim=ClaimPlan(
                storage_class=storage.storage_class, size_gib=storage.size_gib, access_mode=storage.access_mode
            ),
        )

    def host_changes(self, inputs: Inputs, plan: ExistingPlan) -> list[HostChange]:  # noqa: ARG002
        """Nothing of the machine but the copy of the context; what is made in the cluster is said too."""
        return [
            HostChange(
                kind="file",
                what=f"the context {plan.context} of {plan.source_kubeconfig}, copied to {plan.kubeconfig} (0600)",
                root=False,
                note="your own kubeconfig and its current context stay as they are",
            ),
            HostChange(
                kind="cluster",
                what=f"namespace {plan.namespace} in the cluster of that context, and nothing outside of it",
                root=False,
                note="a namespace of that name that this stack did not make is refused",
            ),
        ]

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        """What a node of the stated size leaves to pods."""
        return max(0.0, linux_memory - self.system_memory(inputs))

    def system_memory(self, inputs: Inputs) -> float:
        """What a node keeps: a share that falls with its size, and the cluster's own pods."""
        machine, catalog = inputs.settings.machine, inputs.catalog
        return _reserved(float(machine.memory_gib), catalog) + catalog.number("existing.daemonsGiB")

    def enforces_network_policy(self, inputs: Inputs) -> None:
        """No API tells."""

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        """The engine's image; the weights are in the claim."""
        return pulled_image(inputs)

    def address(self, inputs: Inputs) -> str:  # noqa: ARG002
        """Loopback, where `kubectl port-forward` opens it: the cluster publishes nothing."""
        return "127.0.0.1"

    def cache_path_on_node(self, inputs: Inputs) -> str:  # noqa: ARG002
        """None that anybody needs to know: the claim is mounted."""
        return names.MODELS_MOUNT


def with_needs(plan: ExistingPlan, models: Sequence[ModelPlan], *, least_driver: int | None) -> ExistingPlan:
    """The slice with what the cluster must have room for, and the oldest driver that the engines' images run on."""
    needs = tuple(
        PodNeedPlan(
            model=m.name, replicas=m.replicas, gpus=m.resources.gpus, cpu=m.resources.cpu_request,
            memory_mib=m.resources.memory_request_mib, cpu_limit=m.resources.cpu_limit,
            memory_limit_mib=m.resources.memory_limit_mib,
        )
        for m in models
    )  # fmt: skip
    return plan.model_copy(update={"needs": needs, "least_driver": least_driver})


def claim_budget(plan: ExistingPlan, models: Sequence[ModelPlan], notes: Notes) -> BudgetPlan:
    """Refuses weights that the claim has no room for."""
    weights = sum({w.directory: w.download_gib for m in models for w in m.all_weights}.values())
    need, have = weights * _PARTIAL, plan.claim.size_gib
    if need > have:
        notes.refuse(
            f"model cache: {gib(weights)} of weights need {gib(need)} while they are fetched, and the claim has "
            f"{have} GiB. Write cluster.storage.sizeGiB: {int(need) + 1}, or more."
        )
    return BudgetPlan(name="model cache", need=round(need, 3), have=float(have), unit="GiB", what="weights")


def _reserved(memory: float, catalog: Catalog) -> float:
    """GiB that the kubelet keeps of a node with `memory` GiB: a share of each part, the first parts the largest."""
    kept, left = 0.0, memory
    for part, share in catalog.fact("existing.reservedMemory").value:
        taken = min(left, part)
        kept, left = kept + taken * share, left - taken
    return float(kept)


def _settings(inputs: Inputs) -> ExistingCluster:
    assert isinstance(inputs.settings.cluster, ExistingCluster)  # noqa: S101  (the registry sees to it)
    return inputs.settings.cluster
