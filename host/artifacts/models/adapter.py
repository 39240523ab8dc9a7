"""A LoRA adapter that was fetched: whether vLLM can serve it, found before the engine is started with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stacks.errors import HostError

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check(folder: Path, where: str, *, largest_rank: int) -> None:
    """Raises HostError with everything that vLLM refuses at start (vllm/lora/peft_helper.py), or that is missing."""
    missing = [name for name in (_CONFIG, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise HostError(
            f"{where} is no LoRA adapter that can be served: it has no {' and no '.join(missing)}",
            remedy="name a repository with both at its top, as PEFT's save_pretrained writes them",
        )
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise HostError(f"{where}: {_CONFIG} is no JSON: {error}", remedy="name another revision") from None
    if wrong := _wrong(config if isinstance(config, dict) else {}, largest_rank):
        raise HostError(
            f"{where} cannot be served by vLLM: {'; '.join(wrong)}",
            remedy="raise lora.rank in the stack file where the rank is too large, else name another adapter",
        )


def _wrong(config: dict[str, Any], largest_rank: int) -> list[str]:
    found = []
    if config.get("peft_type", "LORA") != "LORA":
        found.append(f"it is of type {config['peft_type']}, and no LoRA")
    rank, patterns = config.get("r"), config.get("rank_pattern")
    ranks = [rank, *(patterns.values() if isinstance(patterns, dict) else ())]
    if not isinstance(rank, int):
        found.append("its configuration says no rank (r)")
    elif (most := max(value for value in ranks if isinstance(value, int))) > largest_rank:
        found.append(f"its rank is {most}, and lora.rank is {largest_rank}")
    if config.get("use_dora"):
        found.append("it is trained with DoRA (use_dora)")
    if config.get("modules_to_save"):
        found.append(f"it replaces whole modules (modules_to_save: {config['modules_to_save']})")
    if config.get("bias", "none") != "none":
        found.append(f"it trains biases (bias: {config['bias']})")
    return found
