"""The rules of legality.yaml, typed: which engine version runs what on cards of which compute capability."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from stacks.catalog.entries import read_yaml

KvDtype = Literal["auto", "fp8", "fp8_e5m2"]


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Minimum(_Rule):
    """From engine version `since` on, cards of at least `capability`."""

    since: str
    capability: str


class Method(_Rule):
    """A quantization method: the cards that have kernels for it and the dtypes that it computes in."""

    minimum: tuple[Minimum, ...]
    dtypes: tuple[str, ...]
    source: str


class KvRule(_Rule):
    """A KV cache dtype, and the nearest one where it is illegal."""

    capability: str
    since: str
    instead: KvDtype
    source: str


class DtypeRule(_Rule):
    """A dtype of the activations."""

    capability: str
    source: str


class Backend(_Rule):
    """An attention backend that vLLM picks for cards from `capability` to below `below`, from version `since` on."""

    backend: str
    capability: str
    below: str
    since: str
    source: str


class Since(_Rule):
    """An engine version from which something holds."""

    value: str
    source: str


class LastImage(_Rule):
    """The newest image of vLLM that runs on cards from `capability` to below `below`; None: there never was one."""

    capability: str
    below: str
    image: str | None
    source: str


class Sharing(_Rule):
    """Versions that matter where engines share a card."""

    minimum: Since
    kv_bytes: Since = Field(alias="kvBytes")


class Legality(_Rule):
    """The whole table."""

    quantization: dict[str, Method]
    dtypes: dict[str, DtypeRule]
    kv_cache: dict[KvDtype, KvRule] = Field(alias="kvCache")
    attention: tuple[Backend, ...]
    sharing: Sharing
    last_images: tuple[LastImage, ...] = Field(alias="lastImages")


@cache
def load() -> Legality:
    """The table that ships with the lab."""
    text = (Path(__file__).parent / "legality.yaml").read_text(encoding="utf-8")
    return Legality.model_validate(read_yaml(text, "stacks/catalog/legality.yaml"))
