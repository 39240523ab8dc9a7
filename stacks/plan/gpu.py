"""What makes GPUs schedulable, and who has how much of which card."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from stacks.plan.base import Part

NvidiaRuntime: TypeAlias = Literal["docker", "k3s"]
"""Who runs containers on the machine: the Docker daemon, or K3s with a containerd of its own."""

NvidiaStep: TypeAlias = Literal["toolkit", "docker", "cdi", "device-links"]
"""One layer of the machine that may be changed."""


class NvidiaHostPlan(Part):
    """What the machine itself must have before a container can use its GPUs; `host_changes` lists the same steps."""

    runtime: NvidiaRuntime = Field(description="the container runtime that must know the NVIDIA runtime")
    platform: Literal["linux", "wsl2"]
    gpus: int
    least_driver: int | None = Field(description="first number of the oldest driver that the engine's image runs on")
    steps: tuple[NvidiaStep, ...] = Field(description="what may be changed, in this order; nothing else is")
    toolkit: str = Field(description="release of the NVIDIA container toolkit that is installed where one is needed")
    toolkit_least: str = Field(description="an installed one from this release on is left alone")
    toolkit_key: str = Field(description="fingerprint of the key that signs NVIDIA's package repository")


DevicePluginMode: TypeAlias = Literal["owned", "patched", "existing"]
"""Who runs NVIDIA's device plugin: the lab, the cluster with fields of ours added, or the cluster alone."""


class RuntimeClassPlan(Part):
    """The RuntimeClass that GPU pods name."""

    name: str
    made_by: Literal["lab", "cluster"]


class DevicePluginPlan(Part):
    """The plugin that offers cards to the kubelet as nvidia.com/gpu."""

    mode: DevicePluginMode
    image: str
    pull_policy: str
    read_only_root_filesystem: bool
    config: str = Field(description="the plugin's own configuration file; empty where the cluster configures it")


class SharingPlan(Part):
    """How engines share cards."""

    kind: Literal["none", "timeSlicing", "mps", "mig"] = "none"
    replicas: int = Field(default=1, description="how often the plugin offers each card")
    profile: str | None = Field(default=None, description="the MIG profile that every card is divided into")


class NvidiaPlan(Part):
    """What makes GPUs schedulable."""

    gpus: int
    device_plugin: DevicePluginPlan | None = Field(description="None without Kubernetes")
    sharing: SharingPlan
    runtime_class: RuntimeClassPlan | None = Field(description="None where NVIDIA's runtime is the nodes' default")
    host: NvidiaHostPlan | None = Field(description="None where the cluster's nodes are somebody else's to set up")

    @property
    def allocatable(self) -> int:
        """How many nvidia.com/gpu the node offers: the cards, each as often as it is shared."""
        return self.gpus * self.sharing.replicas


class SharePlan(Part):
    """One engine on one card."""

    model: str
    replica: int
    start_order: int = Field(description="engines of a card start one after another, each when the one before answers")
    fixed_gib: float = Field(
        alias="fixedGiB", description="weights, activations, non-torch, CUDA graphs, context and error band"
    )
    kv_cache_gib: float = Field(alias="kvCacheGiB")


class CardPlan(Part):
    """One card, and who has how much of it."""

    index: int
    total_gib: float = Field(alias="totalGiB")
    desktop_gib: float = Field(alias="desktopGiB")
    shares: tuple[SharePlan, ...]
    unused_gib: float = Field(alias="unusedGiB")
