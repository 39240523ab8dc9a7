"""Where weights are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stacks.plan.base import Part


class ClaimCachePlan(Part):
    """Where weights are in somebody else's cluster: a claim that its own storage fills, and the pods themselves."""

    name: str = Field(description="the claim")
    class_name: str | None = Field(description="the StorageClass; None: the cluster's default")
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"]
    capacity_gib: int = Field(alias="capacityGiB")


class ModelCachePlan(Part):
    """Where weights are on the machine and on the node, and how much of them there is."""

    name: str = Field(description="the claim")
    volume: str
    storage_class: str
    host_path: str
    node_path: str
    capacity_gib: int = Field(alias="capacityGiB")
