"""Which Kubernetes carries the stack: one model for each driver, and their union."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from stacks.settings.base import DnsLabel, HostPath, Intent, LabelKey, LabelValue, ObjectName, text_of


class Cluster(Intent):
    """The base of every driver's settings. `machines` are the kinds of machine that it carries; `why_not` says why no
    other.
    """

    machines: ClassVar[frozenset[str]]
    why_not: ClassVar[str]


class EmbeddedCluster(Cluster):
    """Upstream Kubernetes that the lab builds and runs itself in a network namespace of its own."""

    machines: ClassVar[frozenset[str]] = frozenset({"cpu"})
    why_not: ClassVar[str] = "embedded runs no GPU workload"

    driver: Literal["embedded"] = Field(
        description="Upstream Kubernetes from Go modules; Debian-like Linux with root or sudo."
    )
    slot: int = Field(
        default=0,
        ge=0,
        le=63,
        description="Which private address block the cluster uses; clusters side by side need different ones.",
    )
    network_policies: Literal["stored", "enforced"] = Field(
        default="stored",
        description="Whether NetworkPolicies hold. `enforced` builds kube-network-policies first (two to five minutes "
        "on two processors, once for each version), and each `up` shows a refused connection.",
    )


class MinikubeCluster(Cluster):
    """A minikube profile on the Docker driver."""

    machines: ClassVar[frozenset[str]] = frozenset({"nvidia"})
    why_not: ClassVar[str] = "minikube is for machines with an NVIDIA GPU here"

    driver: Literal["minikube"] = Field(description="minikube with its Docker driver.")
    profile: DnsLabel = Field(
        default="local-ai-lab",
        description="The minikube profile; an existing one that we did not make is never touched.",
    )


class K3sCluster(Cluster):
    """K3s on the machine itself, as a service of systemd."""

    machines: ClassVar[frozenset[str]] = frozenset({"nvidia"})
    why_not: ClassVar[str] = "k3s is for machines with an NVIDIA GPU here"

    driver: Literal["k3s"] = Field(description="K3s, installed on the machine as a systemd service; needs root.")
    keep: tuple[Literal["traefik", "servicelb", "metrics-server"], ...] = Field(
        default=(), min_length=1, max_length=3, description="Parts of K3s that stay on; all are off without it."
    )


class DockerCluster(Cluster):
    """Containers of plain Docker: no cluster at all."""

    machines: ClassVar[frozenset[str]] = frozenset({"nvidia", "cpu"})
    why_not: ClassVar[str] = "docker carries machines with and without an NVIDIA GPU"

    driver: Literal["docker"] = Field(description="Containers of plain Docker, without Kubernetes.")


class ClaimStorage(Intent):
    """Where weights are kept in a cluster whose nodes are somebody else's: a PersistentVolumeClaim."""

    storage_class: ObjectName | None = Field(
        default=None,
        alias="class",
        examples=["standard-rwo"],
        description="A StorageClass that the cluster has; without it, the cluster's default class.",
    )
    size_gib: int = Field(
        default=200, alias="sizeGiB", ge=1, le=65536, description="Size of the claim in GiB; it may grow, not shrink."
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteOnce",
        description="ReadWriteOnce: all engines run on one node; ReadWriteMany: where the class offers shared volumes.",
    )


class ExistingCluster(Cluster):
    """A cluster that somebody else made and keeps: the lab checks it, and makes one namespace in it."""

    machines: ClassVar[frozenset[str]] = frozenset({"nvidia"})
    why_not: ClassVar[str] = "existing is for clusters with NVIDIA GPUs here"

    driver: Literal["existing"] = Field(description="A cluster that is there already; it is checked and not changed.")
    context: Annotated[
        str,
        text_of(r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", "name of a context, as kubectl config get-contexts prints it"),
    ] = Field(max_length=200, examples=["gpu-cluster"], description="The context of the kubeconfig, by its name.")
    kubeconfig: HostPath = Field(
        default="~/.kube/config", description="The kubeconfig that has the context; it is read and never written."
    )
    storage: ClaimStorage = Field(default_factory=ClaimStorage, description="The claim in which weights are kept.")
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        max_length=8,
        examples=[{"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB"}],
        description="Labels of the nodes that engines may run on.",
    )
    tolerations: tuple[LabelKey, ...] = Field(
        default=(),
        min_length=1,
        max_length=8,
        examples=[["sku"]],
        description="Keys of taints that engines tolerate, beside nvidia.com/gpu.",
    )
    runtime_class: ObjectName | None = Field(
        default=None,
        examples=["nvidia"],
        description="The RuntimeClass of engines, where the nodes' default runtime is not NVIDIA's.",
    )
    scheduler: ObjectName | None = Field(
        default=None,
        examples=["runai-scheduler"],
        description="The scheduler that places engines, where it is not the cluster's default one.",
    )


ClusterSettings = EmbeddedCluster | MinikubeCluster | K3sCluster | DockerCluster | ExistingCluster
"""Every driver that a stack file may name, told apart by `driver`."""

DRIVER_SETTINGS: dict[str, type[Cluster]] = {
    get_args(member.model_fields["driver"].annotation)[0]: member for member in get_args(ClusterSettings)
}


def driver_for(kind: str) -> str:
    """The first driver that carries a machine of `kind` (nvidia or cpu)."""
    return next(name for name, settings in DRIVER_SETTINGS.items() if kind in settings.machines)


def unsuited(kind: object, driver: object) -> list[tuple[str, str, str]]:
    """Why a cluster of `driver` does not carry a machine of `kind`, and what to write instead; empty where it does."""
    settings = DRIVER_SETTINGS.get(str(driver))
    others = [name for name, other in DRIVER_SETTINGS.items() if kind in other.machines]
    if settings is None or kind in settings.machines or not others:  # an unknown kind is an error of its own
        return []
    edits = [f"write driver: {others[0]}"]
    edits.append(f"in machine kind: {min(settings.machines)}")
    return [(".cluster.driver", f"{settings.why_not}, and machine.kind is {kind}", ", or ".join(edits))]
