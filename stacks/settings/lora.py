"""LoRA adapters: which are served beside a model, and the names that they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from stacks.errors import shown
from stacks.settings.base import DnsLabel, Intent, text_of


class LoraModule(Intent):
    """One LoRA adapter that is served (one name=path of vLLM's --lora-modules)."""

    name: DnsLabel = Field(examples=["sql"], description="The `model` that clients send to be answered by it.")
    repository: Annotated[
        str,
        text_of(
            r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$",
            "repository on Hugging Face, such as owner/name",
            max_length=200,
        ),
    ] = Field(
        examples=["owner/sql-adapter"],
        description="Where on Hugging Face adapter_config.json and adapter_model.safetensors lie.",
    )
    revision: Annotated[str, text_of(r"^[0-9a-f]{40}$", "commit in quotes: 40 digits and letters a to f")] = Field(
        examples=["0123456789abcdef0123456789abcdef01234567"], description="The commit of that repository."
    )


class Lora(Intent):
    """Room for LoRA adapters, and those that are served."""

    adapters: int = Field(
        ge=1, le=64, examples=[1], description="How many may be worked with in one step (--max-loras)."
    )
    rank: Literal[8, 16, 32, 64, 128, 256] = Field(default=16, description="The largest rank (--max-lora-rank).")
    modules: tuple[LoraModule, ...] = Field(
        default=(),
        min_length=1,
        max_length=64,
        examples=[
            [{"name": "sql", "repository": "owner/name", "revision": "0123456789abcdef0123456789abcdef01234567"}]
        ],
        description="The adapters that are served beside the model (--lora-modules); without it only room is kept.",
    )


def adapter_names(model: Intent) -> list[str]:
    """The adapters that are served beside a model; engines other than vLLM may know none."""
    lora: Lora | None = getattr(model, "lora", None)
    return [module.name for module in lora.modules] if lora else []


def taken_names(models: Sequence[tuple[object, Sequence[object]]]) -> list[tuple[str, str, str]]:
    """Adapters whose name a model or another adapter has; each model is (name, its adapters' names)."""
    found, taken = [], {name for name, _ in models}
    for index, (_, adapters) in enumerate(models):
        for place, name in enumerate(adapters):
            if name in taken:
                path = f".models[{index}].lora.modules[{place}].name"
                said = f"{shown(str(name))} is the name of a model or of another adapter"
                found.append((path, said, "write another name"))
            taken.add(name)
    return found
