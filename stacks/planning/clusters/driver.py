"""What the planner asks of every cluster driver. The effects are in host/drivers; a test holds that both halves
agree.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from stacks import names
from stacks.plan import HostChange, NvidiaRuntime, TargetPlan
from stacks.planning.draft import Inputs, Notes, gib


class ClusterDriver(Protocol):
    """The pure half of one driver: `name` is what stack files, plans and `python -m host` call it.

    `deployable`: whether this version makes such clusters.
    `nvidia_runtime`: the container runtime of the machine that must know the NVIDIA runtime; None where no GPU is used,
    and where the nodes are somebody else's to set up.
    `provider_fact`, `eviction_fact`: where the catalogue has the version of Pulumi's Kubernetes provider, and the part
    of a disk that must stay free; the first is empty where there is no Kubernetes.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    deployable: ClassVar[bool]
    nvidia_runtime: ClassVar[NvidiaRuntime | None]
    provider_fact: ClassVar[str]
    eviction_fact: ClassVar[str]

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> TargetPlan:
        """The driver's slice of the plan; `linux_memory` is GiB of RAM that Linux has."""

    def host_changes(self, inputs: Inputs, plan: Any) -> list[HostChange]:
        """What making the cluster changes on the machine, in order; `plan` is the driver's own slice."""

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        """RAM in GiB that pods of the node may share, the cluster's own parts already taken off."""

    def system_memory(self, inputs: Inputs) -> float:
        """RAM in GiB that the machine and the cluster's own parts keep from pods."""

    def enforces_network_policy(self, inputs: Inputs) -> bool | None:
        """Whether the cluster's network enforces NetworkPolicies; None where nobody can know."""

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        """Disk in GiB that the cluster and its images take, and what that is, in words."""

    def address(self, inputs: Inputs) -> str:
        """Where the machine reaches the endpoints' ports."""

    def cache_path_on_node(self, inputs: Inputs) -> str:
        """Where the model cache's folder is on the node."""


def common(inputs: Inputs, driver: ClusterDriver) -> dict[str, str]:
    """The fields of the slice that every driver of a cluster fills alike."""
    return {
        "kubeconfig": names.kubeconfig(inputs.stack),
        "identifier": names.cluster_identifier(inputs.stack),
        "namespace": names.namespace(inputs.stack),
        "address": driver.address(inputs),
        "provider": str(inputs.catalog.fact(driver.provider_fact).value),
    }


def pulled_image(inputs: Inputs) -> tuple[float, str]:
    """GiB of disk for the engine's image, which lies packed beside its unpacked layers while it is pulled."""
    cuda = inputs.catalog.images["vllm-cuda"]
    unpacked, packed = cuda.unpacked_gib.value, cuda.compressed_gib.value
    return unpacked + packed, f"the image, unpacked and while it is pulled ({gib(unpacked)} + {gib(packed)})"
