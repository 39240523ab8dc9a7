"""What starts on a machine printed, kept beside the stack file: measured/<stack>.yaml. Figures only, never edited by
hand.

A reviewer sees in its diff what was learned; the next plan of the same card, engine version and model uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from stacks.errors import LabError

FOLDER = "measured"
_HEAD = (
    "# Written by ./lab learn from the engines' own logs: GiB are 2^30 bytes of one card. Not to be edited by hand.\n"
)


class Start(BaseModel):
    """One model's last start on the machine, and the settings that its figures depend on."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    name: str = Field(description="the model's name in the stack file")
    model: str = Field(description="as the catalogue names it")
    engine: str
    version: str
    device: str = Field(description="the card as the catalogue names it, or cpu")
    platform: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    enforce_eager: bool
    tensor_parallel_size: int = 1
    beside: str = Field(
        default="",
        exclude_if=lambda value: not value,
        description="what else its weights depend on: adapters, a second model, no encoder",
    )
    gpu_memory_utilization: float | None = None
    weights_gib: float | None = Field(default=None, alias="weightsGiB")
    free_gib: float | None = Field(default=None, alias="freeGiB")
    total_gib: float | None = Field(default=None, alias="totalGiB")
    activation_gib: float | None = Field(default=None, alias="activationGiB")
    non_torch_gib: float | None = Field(default=None, alias="nonTorchGiB")
    graphs_gib: float | None = Field(default=None, alias="graphsGiB")
    kv_cache_gib: float | None = Field(default=None, alias="kvCacheGiB", description="worked out by the engine")
    given_kv_cache_gib: float | None = Field(default=None, alias="givenKvCacheGiB")
    kv_tokens: int | None = None


@dataclass(frozen=True)
class Row:
    """One part: what was planned, what was printed, and how much it may be off."""

    part: str
    planned: float
    printed: float
    band: float
    unit: str

    @property
    def off(self) -> bool:
        """Whether the difference is larger than the plan's own band."""
        return abs(self.printed - self.planned) > self.band


def path_of(root: Path, stack: str) -> Path:
    """Where the figures of a stack lie."""
    return root / FOLDER / f"{stack}.yaml"


def read(root: Path, stack: str) -> tuple[Start, ...]:
    """What was measured for the stack; nothing where there is no file. Raises LabError where it cannot be read."""
    path = path_of(root, stack)
    if not path.exists():
        return ()
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return tuple(Start.model_validate(entry) for entry in document["starts"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError, TypeError, KeyError) as error:
        said = str(error).splitlines()[0]
        remedy = f"remove it: rm {FOLDER}/{path.name}; ./lab learn {stack} writes it again"
        raise LabError(f"{FOLDER}/{path.name} cannot be used: {said}", remedy=remedy) from None


def text_of(starts: tuple[Start, ...]) -> str:
    """The file's text, equal for equal figures."""
    entries = [start.model_dump(mode="json", by_alias=True, exclude_none=True) for start in starts]
    return _HEAD + yaml.safe_dump({"starts": entries}, sort_keys=False, width=120)
