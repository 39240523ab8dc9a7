"""What carries a stack, a cluster or plain Docker: one slice for each driver, and their union."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stacks.plan.base import Part


class TargetPlan(Part):
    """What every driver's slice has, with Kubernetes or without.

    `foreign`: it was there before, and is kept by somebody else. The lab makes a namespace in it and nothing beside it,
    publishes nothing, and removes no more than it made.
    """

    foreign: ClassVar[bool] = False

    driver: str
    name: str
    address: str = Field(description="where the machine reaches the endpoints' ports")


class KubernetesPlan(TargetPlan):
    """What every cluster has, with any driver."""

    kubeconfig: str = Field(description="where the bootstrap writes it and the provider reads it")
    identifier: str = Field(description="the provider's clusterIdentifier")
    node: str
    kubernetes: str = Field(description="the version")
    namespace: str = Field(description="the stack's own namespace for models")
    provider: str = Field(description="the version of Pulumi's Kubernetes provider")


class MinikubePlan(KubernetesPlan):
    """A minikube profile, with the exact command that makes it."""

    driver: Literal["minikube"] = "minikube"
    version: str = Field(description="the minikube release that the command is written for")
    start: tuple[str, ...] = Field(description="the command line that creates or starts the profile")
    disabled_addons: tuple[str, ...]
    memory_mib: int = Field(alias="memoryMiB")
    cpus: int
    base_image: str = Field(description="the node's image")
    gpus: str = Field(description="what --gpus says")
    cni: str = Field(description="the network, which must enforce NetworkPolicies")
    mount: str = Field(description="the machine's folder that the node mounts; ~ is the home")
    mounted_at: str = Field(description="where the node has it")
    ports: tuple[int, ...] = Field(description="ports of the machine that lead to the same node ports")
    tool_kubeconfig: str = Field(description="the kubeconfig that minikube itself writes, instead of the user's own")


class K3sPlan(KubernetesPlan):
    """K3s as a service of the machine."""

    driver: Literal["k3s"] = "k3s"
    config: str = Field(description="the text of /etc/rancher/k3s/config.yaml, all of it ours")


class EmbeddedPlan(KubernetesPlan):
    """The embedded cluster."""

    driver: Literal["embedded"] = "embedded"
    containerd: str
    etcd: str
    slot: int
    images: tuple[str, ...] = Field(description="images that are built here and imported into containerd")
    addons: tuple[Literal["dns", "gateway-definitions"], ...] = Field(
        default=(), exclude_if=lambda value: not value, description="what the cluster has beside Kubernetes itself"
    )
    network_policies: str | None = Field(
        default=None,
        exclude_if=lambda value: value is None,
        description="the version of kube-network-policies that enforces NetworkPolicies; None: nothing does",
    )


class PodsPlan(Part):
    """Where in somebody else's cluster the pods of engines go."""

    node_selector: dict[str, str]
    tolerations: tuple[str, ...] = Field(description="keys of taints, with any value and effect")
    runtime_class: str | None
    scheduler: str | None = Field(description="None: the cluster's default one")
    one_node: bool = Field(description="whether all of them must share a node, because their volume is attached to one")


class PodNeedPlan(Part):
    """What the pods of one model ask the cluster for."""

    model: str
    replicas: int
    gpus: int
    cpu: str = Field(description="requested by each pod, in processors")
    memory_mib: int = Field(alias="memoryMiB", description="requested by each pod")
    cpu_limit: str
    memory_limit_mib: int = Field(alias="memoryLimitMiB")


class ClaimPlan(Part):
    """The claim of the model cache, as far as the cluster must be able to give it."""

    storage_class: str | None = Field(description="None: the cluster's default")
    size_gib: int = Field(alias="sizeGiB")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"]


class ExistingPlan(KubernetesPlan):
    """A cluster that was there before: what is checked of it, and what is taken from whose kubeconfig."""

    foreign: ClassVar[bool] = True

    driver: Literal["existing"] = "existing"
    context: str
    source_kubeconfig: str = Field(description="the user's own, which is read and never written")
    oldest: str = Field(description="the oldest Kubernetes version that has what the objects need")
    gpu_name: str
    gpu_words: tuple[str, ...] = Field(description="words that tell the card from others in a product's name")
    gpu_total_gib: float = Field(alias="gpuTotalGiB", description="memory of each card that is planned with")
    least_driver: int | None = Field(
        default=None, description="first number of the oldest driver that the engine's image runs on"
    )
    pods: PodsPlan
    claim: ClaimPlan
    needs: tuple[PodNeedPlan, ...] = ()


class DockerPlan(TargetPlan):
    """Containers of plain Docker: `name` is the compose project, after which all of it is called."""

    driver: Literal["docker"] = "docker"
    pids_limit: int = Field(description="processes and threads that one engine may have")


ClusterPlan = Annotated[
    MinikubePlan | K3sPlan | EmbeddedPlan | DockerPlan | ExistingPlan, Field(discriminator="driver")
]
"""Every driver's slice, told apart by `driver`."""
