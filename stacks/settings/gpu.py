"""How the cluster's pods get at the machine's cards: the device plugin, and whether engines share a card."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stacks.settings.base import DnsLabel, Intent, text_of


class NoSharing(Intent):
    """Each engine has cards of its own."""

    kind: Literal["none"] = Field(default="none", description="Each engine has cards of its own.")


class TimeSlicing(Intent):
    """Engines take turns on a card; nothing but the plan's budget bounds the memory of each."""

    kind: Literal["timeSlicing"] = Field(
        description="Engines take turns on a card; the plan's budget alone bounds their memory."
    )
    replicas: int | None = Field(
        default=None,
        ge=2,
        le=48,
        examples=[2],
        description="How many pods may have one card; without it, as many as the stack's engines need.",
    )


class Mps(Intent):
    """NVIDIA's Multi-Process Service: engines run on a card side by side, each with a part of its memory."""

    kind: Literal["mps"] = Field(
        description="Engines run side by side, each with a part of the card's memory; not verified with vLLM."
    )
    replicas: int | None = Field(
        default=None,
        ge=2,
        le=48,
        examples=[2],
        description="Into how many equal parts a card is divided; without it, as many as the stack's engines need.",
    )


class Mig(Intent):
    """Multi-Instance GPU: the hardware divides a card into slices, and each engine has slices of its own."""

    kind: Literal["mig"] = Field(description="The hardware divides a card; data-centre cards only.")
    profile: Annotated[str, text_of(r"^[1-7]g\.[0-9]{1,3}gb$", "profile such as 1g.10gb, as nvidia-smi mig -lgip")] = (
        Field(examples=["3g.40gb"], description="Into which slices every card is divided, as nvidia-smi calls them.")
    )


SharingSettings = NoSharing | TimeSlicing | Mps | Mig
"""Every way to share a card, told apart by `kind`."""


class GpuSettings(Intent):
    """How pods get at the cards. Nothing of it is needed: each driver has its defaults."""

    device_plugin: Literal["owned", "patched", "existing"] | None = Field(
        default=None,
        description="owned: the lab runs NVIDIA's device plugin; patched: it adds fields to the cluster's own; "
        "existing: the cluster offers nvidia.com/gpu already; without it, what suits the driver.",
    )
    runtime_class: DnsLabel | None = Field(
        default=None,
        examples=["nvidia"],
        description="The RuntimeClass that GPU pods name, where NVIDIA's runtime is not the nodes' default.",
    )
    sharing: Annotated[
        SharingSettings, Field(discriminator="kind", description="Whether several engines share a card, and how.")
    ] = Field(default_factory=NoSharing, description="Whether several engines share a card, and how.")

    @property
    def shares(self) -> bool:
        """Whether several engines may be on one card at the same time."""
        return self.sharing.kind in ("timeSlicing", "mps")


def faults(gpu: GpuSettings, *, machine: str, driver: str, shared_card: bool) -> list[tuple[str, str, str]]:
    """What contradicts the rest of the stack file: (path, message, remedy)."""
    if gpu == GpuSettings():
        return []
    if machine != "nvidia":
        return [(".gpu", f"has no meaning: machine.kind is {machine}", "remove it")]
    if driver == "docker":
        remedy = "remove it; with machine.sharedCard: true several engines share a card"
        return [(".gpu", "is for Kubernetes, and cluster.driver is docker", remedy)]
    if driver == "existing" and gpu.runtime_class is not None:
        return [(".gpu.runtimeClass", "is cluster.runtimeClass with driver existing", "write it there")]
    if shared_card and gpu.sharing.kind == "mig":
        message = "says that engines share a card, and gpu.sharing.kind: mig gives each a slice of its own"
        return [(".machine.sharedCard", message, "remove the line")]
    return []
