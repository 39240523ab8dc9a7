"""The networks of the catalogue, read once."""

from __future__ import annotations

from functools import lru_cache

from stacks.catalog import Model
from stacks.planning.engines.vllm.memory import Architecture
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config

_KEPT = 256


def network(model: Model) -> Architecture:
    """The architecture that the model's config.json describes. Raises CatalogError where a key is missing."""
    return _read(_Key(model))


class _Key:
    """A model as a key of the cache: entries hold maps, which do not hash; the same entry object is the same
    network.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def __hash__(self) -> int:
        return id(self.model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.model is self.model


@lru_cache(maxsize=_KEPT)
def _read(key: _Key) -> Architecture:
    return read_hf_config(key.model.config)
