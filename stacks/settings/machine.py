"""The machine itself: facts, not preferences."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from stacks.settings.base import CatalogId, Intent, text_of
from stacks.settings.problems import Fault

_DISK_TOTAL = "Size in GiB of that disk; a kubelet evicts pods when too small a part of it is free."


class NvidiaMachine(Intent):
    """A machine with NVIDIA GPUs of one kind."""

    kind: Literal["nvidia"] = Field(description="A machine with NVIDIA GPUs.")
    gpu: CatalogId = Field(
        examples=["rtx-2060-super"], description="The card, as the catalogue names it, such as rtx-2060-super."
    )
    gpus: int = Field(default=1, ge=1, le=16, description="How many such cards the machine has.")
    platform: Literal["linux", "wsl2"] = Field(
        default="linux", description="Linux on the metal, or WSL2 under Windows."
    )
    display: bool = Field(
        default=False, description="true when a desktop draws on the card; WSL2 always counts as one."
    )
    nvidia_driver: (
        Annotated[str, text_of(r"^[0-9]{3}(\.[0-9]{1,3}){0,2}$", "version in quotes, as nvidia-smi prints it")] | None
    ) = Field(
        default=None, examples=["581.29"], description="The installed driver, as nvidia-smi prints it, such as 581.29."
    )
    memory_gib: int = Field(
        alias="memoryGiB",
        ge=1,
        le=4096,
        examples=[16],
        description="RAM of the machine in GiB (Windows' own total under WSL2).",
    )
    wsl_memory_gib: int | None = Field(
        default=None,
        alias="wslMemoryGiB",
        ge=1,
        le=4096,
        examples=[8],
        description="RAM that .wslconfig gives WSL2, in GiB; WSL2's own default is half.",
    )
    cpus: int = Field(ge=1, le=1024, examples=[8], description="Logical processors that Linux sees.")
    disk_free_gib: int | None = Field(
        default=None,
        alias="diskFreeGiB",
        ge=1,
        le=1_000_000,
        examples=[100],
        description="Free disk in GiB where images and models go.",
    )
    disk_total_gib: int | None = Field(
        default=None, alias="diskTotalGiB", ge=1, le=1_000_000, examples=[500], description=_DISK_TOTAL
    )
    held_memory_gib: float | None = Field(
        default=None,
        alias="heldMemoryGiB",
        gt=0,
        le=1024,
        examples=[1.5],
        description="Memory of each card in GiB that other programs hold and keep, as nvidia-smi shows it.",
    )
    shared_card: bool = Field(
        default=False, description="true: several engines may share one card's memory and compute."
    )

    @model_validator(mode="after")
    def _wsl_memory_needs_wsl2(self) -> NvidiaMachine:
        if self.wsl_memory_gib is not None and self.platform != "wsl2":
            raise Fault(
                (
                    ".wslMemoryGiB",
                    "says what .wslconfig gives WSL2, and platform is linux",
                    "remove it, or write platform: wsl2",
                )
            )
        if self.wsl_memory_gib is not None and self.wsl_memory_gib > self.memory_gib:
            message = f"{self.wsl_memory_gib} is more than the machine has: memoryGiB is {self.memory_gib}"
            raise Fault((".wslMemoryGiB", message, "lower it to what .wslconfig says"))
        if self.platform == "wsl2" and self.gpus > 1:
            message = (
                "under WSL2 the device plugin offers all cards as one device, so that only one engine would ever get "
                "any"
            )
            raise Fault((".gpus", message, "write gpus: 1, or platform: linux"))
        return self

    @model_validator(mode="after")
    def _free_disk_is_part_of_it(self) -> NvidiaMachine:
        _check_disk(self.disk_free_gib, self.disk_total_gib)
        return self


DETECTABLE = ("memoryGiB", "cpus")
"""What a stack file of a machine without a GPU may leave out."""


def _without_detectable(schema: dict[str, Any]) -> None:
    """For editors: what is detected may be missing."""
    schema["required"] = [key for key in schema["required"] if key not in DETECTABLE]


class CpuMachine(Intent):
    """A machine whose processors run the model: for trials and CI, not for speed."""

    model_config = ConfigDict(json_schema_extra=_without_detectable)
    _detected: tuple[str, ...] = PrivateAttr(default=())

    kind: Literal["cpu"] = Field(description="A machine without a GPU.")
    platform: Literal["linux"] = Field(default="linux", description="Linux on the metal or in a virtual machine.")
    memory_gib: int = Field(
        alias="memoryGiB",
        ge=1,
        le=4096,
        examples=[16],
        description="RAM of the machine in GiB; without it, what the machine has that runs the stack.",
    )
    cpus: int = Field(
        ge=1,
        le=1024,
        examples=[8],
        description="Logical processors that Linux sees; without it, those of the machine that runs the stack.",
    )
    disk_free_gib: int | None = Field(
        default=None,
        alias="diskFreeGiB",
        ge=1,
        le=1_000_000,
        examples=[100],
        description="Free disk in GiB where images and models go.",
    )
    disk_total_gib: int | None = Field(
        default=None, alias="diskTotalGiB", ge=1, le=1_000_000, examples=[500], description=_DISK_TOTAL
    )

    @property
    def detected(self) -> tuple[str, ...]:
        """The keys whose values are this machine's own, because the stack file leaves them out."""
        return self._detected

    def with_detected(self, keys: tuple[str, ...]) -> CpuMachine:
        """A copy that knows which values were detected."""
        copy = self.model_copy()
        copy._detected = keys
        return copy

    @model_validator(mode="after")
    def _free_disk_is_part_of_it(self) -> CpuMachine:
        _check_disk(self.disk_free_gib, self.disk_total_gib)
        return self


def _check_disk(free: int | None, total: int | None) -> None:
    if free is not None and total is not None and free > total:
        raise Fault(
            (".diskFreeGiB", f"{free} is more than the disk has: diskTotalGiB is {total}", "write what `df -h` says")
        )
