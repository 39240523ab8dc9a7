"""Cases in the format of the shared memory-cases.jsonl: a line to an EngineRun, and a Prediction to the line that the
scorer reads.

Only `id`, `kind` and `input` of a case are ever read, never what was observed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stacks.catalog.quantization import UnknownQuantizationError, named, scheme
from stacks.errors import CatalogError
from stacks.planning.fit.hf_config import read_hf_config
from stacks.planning.fit.predict import predict
from stacks.planning.fit.run import EngineRun, Prediction

_NEWEST = "0.33.0"
_NAMEPLATES = frozenset({4, 6, 8, 10, 12, 16, 24, 32})  # GiB of GeForce cards
_NUMBERS = (
    "gpu_total_gib",
    "gpu_free_gib",
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "tensor_parallel",
    "pipeline_parallel",
    "checkpoint_gib",
    "kv_cache_memory_gib",
    "block_size",
)
_WORDS = ("quantization", "dtype", "kv_cache_dtype", "gpu_name", "compute_capability", "vllm_version", "engine")
_AUTOMATIC = (-1, "auto")  # vLLM >= 0.14 fits the length by itself
_FAMILIES = ("", "compressed-tensors", "modelopt", "bitsandbytes", "bnb", "auto")  # words that name no scheme
_FLAGS = ("enforce_eager", "multimodal_inputs", "enable_prefix_caching")


@dataclass(frozen=True)
class Case:
    """One case. `run` is None where config.json does not describe a network; `why` says so."""

    identifier: str
    run: EngineRun | None
    why: str | None = None


def problems(row: Any) -> list[str]:
    """What is wrong with a decoded line, a phrase each; empty where it can be answered."""
    if not isinstance(row, dict):
        return ["not a JSON object"]
    found = [] if isinstance(row.get("id"), str) and row["id"] else ["no id (a string)"]
    given = row.get("input")
    if not isinstance(given, dict):
        return [*found, "no input (an object)"]
    if not isinstance(given.get("hf_config"), dict | None):
        found.append("no input.hf_config (config.json as an object)")
    for name in _NUMBERS:
        value = given.get(name)
        if name == "max_model_len" and value in _AUTOMATIC:
            continue
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9
        ):
            found.append(f"input.{name} is not a number")
    words = (name for name in _WORDS if not (name == "compute_capability" and isinstance(given.get(name), int | float)))
    found.extend(f"input.{name} is not a string" for name in words if not isinstance(given.get(name), str | None))
    found.extend(
        f"input.{name} is not true or false" for name in _FLAGS if not isinstance(given.get(name), bool | None)
    )
    return found


def read(row: Mapping[str, Any]) -> Case:
    """The case of a line without `problems`."""
    given = row["input"]
    if given.get("hf_config") is None:
        return Case(row["id"], None, "hf_config is not known")
    try:
        architecture = read_hf_config(given["hf_config"])
    except CatalogError as error:
        return Case(row["id"], None, error.message)
    # a value of a kind that no model type writes there
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        return Case(row["id"], None, f"config.json cannot be read: {error}")
    name = given.get("gpu_name")
    return Case(
        row["id"],
        EngineRun(
            architecture=architecture,
            version=_version(given.get("vllm_version")),
            engine=_engine(given.get("engine")),
            total_gib=_positive(given.get("gpu_total_gib")),
            free_gib=_positive(given.get("gpu_free_gib")),
            capability=_capability(given.get("compute_capability")),
            gpu_name=name,
            wsl2=_windows(name, given.get("gpu_total_gib")),
            gpu_memory_utilization=_positive(given.get("gpu_memory_utilization")),
            kv_cache_memory_gib=_positive(given.get("kv_cache_memory_gib")),
            max_model_len=None if given.get("max_model_len") in _AUTOMATIC else _whole(given.get("max_model_len")),
            max_num_seqs=_whole(given.get("max_num_seqs")),
            max_num_batched_tokens=_whole(given.get("max_num_batched_tokens")),
            enforce_eager=bool(given.get("enforce_eager")),
            dtype=_dtype(given.get("dtype")),
            kv_cache_dtype=given.get("kv_cache_dtype") or "auto",
            quantization=_quantization(given.get("quantization"), given["hf_config"]),
            checkpoint_gib=_positive(given.get("checkpoint_gib")),
            tensor_parallel=_whole(given.get("tensor_parallel")) or 1,
            pipeline_parallel=_whole(given.get("pipeline_parallel")) or 1,
            block_size=_whole(given.get("block_size")),
            prefix_caching=given.get("enable_prefix_caching"),
            multimodal=bool(given.get("multimodal_inputs")),
        ),
    )


def answer(case: Case) -> dict[str, Any]:
    """The line that score_memory.py reads. A network that cannot be read is refused: that is never dangerous."""
    if case.run is None:
        return {"id": case.identifier, "fits": False, "verdict": "too close", "note": case.why}
    found: Prediction = predict(case.run)
    return {
        "id": case.identifier,
        "fits": found.fits,
        "verdict": str(found.verdict),
        "kv_cache_gib": _rounded(found.kv_gib),
        "kv_cache_tokens": found.kv_tokens,
        "max_concurrency": None if found.concurrency is None else round(found.concurrency, 2),  # as vLLM prints it
        "kv_needed_gib": _rounded(found.kv_needed_gib),
        "est_max_len": found.largest_len,
        "weights_gib": _rounded(found.weights_gib),
        "band_gib": _rounded(found.band_gib),
        "failed": None if found.failed is None else str(found.failed),
        "notes": list(found.notes),
    }


def _version(said: str | None) -> str:
    """The first version in what a report says ("0.8.5 (log lines)", ">=0.30"); the newest where it names none."""
    found = re.search(r"\d+\.\d+(\.\d+)?", said or "")
    return found[0] if found else _NEWEST


def _windows(name: str | None, total_gib: float | None) -> bool:
    """Whether Windows' driver holds the card: the name says so, or the total is the nameplate's (Linux' driver keeps
    some back).
    """
    if any(word in (name or "").lower() for word in ("wsl", "windows")):
        return True
    return total_gib is not None and round(total_gib) in _NAMEPLATES and abs(total_gib - round(total_gib)) < 0.015


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and value > 0 else None


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and value >= 1 else None


def _engine(word: str | None) -> Literal["V0", "V1"] | None:
    return "V0" if word == "V0" else "V1" if word == "V1" else None


def _quantization(word: str | None, config: Mapping[str, Any]) -> str | None:
    """The scheme; from the checkpoint's own quantization_config where the case leaves it open or says a family."""
    said = (word or "").lower()
    if said not in _FAMILIES:
        return None if said == "none" else named(said) or said
    try:
        found = scheme(config)
    except UnknownQuantizationError as error:
        return str(error)
    return "bnb_nf4" if found is None and said in ("bitsandbytes", "bnb") else found


def _dtype(word: str | None) -> Literal["bfloat16", "float16", "float32"] | None:
    plain = (word or "").removeprefix("torch.")
    if plain in ("half", "float16"):
        return "float16"
    return "bfloat16" if plain == "bfloat16" else "float32" if plain in ("float", "float32") else None


def _capability(word: str | float | None) -> tuple[int, int] | None:
    major, _, minor = str(word if word is not None else "").partition(".")
    minor = minor or "0"
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None
