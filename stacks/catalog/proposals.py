"""proposals.yaml, typed: what `lab init` may propose, and how much room a proposal needs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field

from stacks.catalog.entries import read_yaml
from stacks.catalog.schema import Entry, Fact


class Room(Entry):
    """Contexts in tokens, tried from the left, with `requests` at once; `held` of them at full length must fit."""

    contexts: tuple[int, ...]
    requests: int
    held: float


class Proposals(Entry):
    """The models in the order of preference, and the rooms."""

    gpu: tuple[str, ...]
    cpu: tuple[str, ...]
    comfortable: Room
    tight: Room
    processors: Room
    more_requests: tuple[int, ...]
    least_tokens_per_second: Fact[float]
    least_parameters_b: Fact[float] = Field(alias="leastParametersB", description="10^9")


@cache
def load() -> Proposals:
    """The file that ships with the lab."""
    text = Path(__file__).with_name("proposals.yaml").read_text(encoding="utf-8")
    return Proposals.model_validate(read_yaml(text, "stacks/catalog/proposals.yaml"))
