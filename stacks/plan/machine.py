"""The machine, and what all models of it share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stacks.plan.base import Part


class MachinePlan(Part):
    """The machine as the plan takes it."""

    kind: Literal["nvidia", "cpu"]
    platform: Literal["linux", "wsl2"]
    gpu: str | None = None
    gpu_name: str | None = None
    compute_capability: str | None = None
    gpus: int = 0
    gpu_total_gib: float | None = Field(default=None, alias="gpuTotalGiB")
    linux_memory_gib: float = Field(alias="linuxMemoryGiB")
    cpus: int


class BudgetPlan(Part):
    """One budget that all models of the machine share: checked where `need` is at most `have`."""

    name: str
    need: float
    have: float | None = Field(description="None where the stack file does not say how much there is")
    unit: Literal["GiB", "processors", "GPUs", "ports"]
    what: str
