"""Cases in the format of memory-cases.jsonl: a line to an EngineRun, and a Prediction to the line that the scorer
reads.

Only `id`, `kind` and `input` of a case are ever read, never what was observed. Inputs beside those of the format:

  pipeline_parallel, block_size, enable_prefix_caching, max_loras, max_lora_rank   as vLLM's flags
  warm_compile_cache   true where torch.compile's cache is there already
  speculation          {"method": "mtp" | "ngram" | "draft_model" | "eagle" | "eagle3", "num_speculative_tokens": 2,
                       "draft_hf_config": {...}, "draft_gib": 1.2}: the last two for a draft of its own

An input that stands in none of these lists is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from stacks.catalog.quantization import UnknownQuantizationError, named, scheme
from stacks.errors import CatalogError
from stacks.planning.engines.vllm.memory import (
    Architecture,
    Assumed,
    EngineRun,
    OldVersionError,
    Prediction,
    Speculation,
    mtp_head,
    predict,
)
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config
from stacks.planning.engines.vllm.memory.versions import behaviour

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
    "max_loras",
    "max_lora_rank",
)
_WORDS = ("quantization", "dtype", "kv_cache_dtype", "gpu_name", "compute_capability", "vllm_version", "engine")
_FLAGS = ("enforce_eager", "multimodal_inputs", "enable_prefix_caching", "warm_compile_cache", "vllm_version_known")
_INFORMATION = ("model", "geometry_of", "gpu_total_source")
"""Nothing is computed from these."""
_KNOWN = frozenset((*_NUMBERS, *_WORDS, *_FLAGS, *_INFORMATION, "hf_config", "filled", "speculation"))
_SPECULATION = frozenset({"method", "num_speculative_tokens", "draft_hf_config", "draft_gib"})
_METHODS = ("mtp", "ngram", "draft_model", "eagle", "eagle3")
_AUTOMATIC = (-1, "auto")  # vLLM >= 0.14 fits the length by itself
_FAMILIES = ("", "compressed-tensors", "modelopt", "bitsandbytes", "bnb", "auto")  # words that name no scheme


@dataclass(frozen=True)
class Case:
    """One case. `run` is None where it cannot be predicted; `why` says so, and `old` that its version is the reason."""

    identifier: str
    run: EngineRun | None
    why: str | None = None
    old: bool = False


def problems(row: Any) -> list[str]:
    """What is wrong with a decoded line, a phrase each; empty where it can be answered."""
    if not isinstance(row, dict):
        return ["not a JSON object"]
    found = [] if isinstance(row.get("id"), str) and row["id"] else ["no id (a string)"]
    given = row.get("input")
    if not isinstance(given, dict):
        return [*found, "no input (an object)"]
    found.extend(f"input.{name} is not known" for name in sorted(set(given) - _KNOWN, key=str))
    if not isinstance(given.get("hf_config"), dict | None):
        found.append("no input.hf_config (config.json as an object)")
    for name in _NUMBERS:
        if not (name == "max_model_len" and given.get(name) in _AUTOMATIC) and not _is_number(given.get(name)):
            found.append(f"input.{name} is not a number")
    words = (name for name in _WORDS if not (name == "compute_capability" and isinstance(given.get(name), int | float)))
    found.extend(f"input.{name} is not a string" for name in words if not isinstance(given.get(name), str | None))
    found.extend(
        f"input.{name} is not true or false" for name in _FLAGS if not isinstance(given.get(name), bool | None)
    )
    if not isinstance(given.get("filled"), list | None):
        found.append("input.filled is not a list")
    return [*found, *_speculation_problems(given.get("speculation"))]


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9)


def _speculation_problems(said: Any) -> list[str]:
    if said is None:
        return []
    if not isinstance(said, dict):
        return ["input.speculation is not an object"]
    found = [f"input.speculation.{name} is not known" for name in sorted(set(said) - _SPECULATION, key=str)]
    if said.get("method") not in _METHODS:
        found.append(f"input.speculation.method is none of {', '.join(_METHODS)}")
    elif said["method"] not in ("mtp", "ngram") and not isinstance(said.get("draft_hf_config"), dict):
        found.append(f"input.speculation.draft_hf_config is needed for {said['method']}")
    tokens = said.get("num_speculative_tokens")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        found.append("input.speculation.num_speculative_tokens is not a number of tokens")
    if not _is_number(said.get("draft_gib")):
        found.append("input.speculation.draft_gib is not a number")
    return found


def read(row: Mapping[str, Any], *, prompt_logprobs: bool = False) -> Case:
    """The case of a line without `problems`. The scorer asks whether the engine starts, so that requests with
    `prompt_logprobs` do not count unless they shall.
    """
    given = row["input"]
    version = _version(given.get("vllm_version"))
    try:
        behaviour(version)
    except OldVersionError as error:
        return Case(row["id"], None, error.message, old=True)
    if given.get("engine") == "V0":
        return Case(row["id"], None, "the V0 engine, which the predictor does not know", old=True)
    if given.get("hf_config") is None:
        return Case(row["id"], None, "hf_config is not known")
    try:
        architecture = read_hf_config(given["hf_config"])
        speculation = _speculation(given.get("speculation"), architecture)
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
            version=version,
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
            max_loras=_whole(given.get("max_loras")) or 0,
            max_lora_rank=_whole(given.get("max_lora_rank")) or 16,
            speculation=speculation,
            warm_compile_cache=bool(given.get("warm_compile_cache")),
            prompt_logprobs=prompt_logprobs,
            assumed=_assumed(given),
        ),
    )


def _assumed(given: Mapping[str, Any]) -> frozenset[Assumed]:
    """What the log did not show. A default share is known where the version is."""
    filled = set(given.get("filled") or ())
    found = {field for field in get_args(Assumed) if field in filled}
    if given.get("vllm_version_known", True) is False:
        found.add("version")
    else:
        found.discard("gpu_memory_utilization")
    return frozenset(found)


def _speculation(said: Mapping[str, Any] | None, target: Architecture) -> Speculation | None:
    if said is None:
        return None
    tokens = int(said["num_speculative_tokens"])
    if said["method"] == "ngram":
        return Speculation(tokens=tokens)
    if said["method"] == "mtp":
        return Speculation(tokens=tokens, draft=mtp_head(target), inside=True)
    config = said["draft_hf_config"]
    draft, quantization = read_hf_config(config), _quantization(None, config)
    return Speculation(
        tokens=tokens, draft=draft, quantization=quantization, weights_gib=_positive(said.get("draft_gib"))
    )


def answer(case: Case) -> dict[str, Any]:
    """The line that score_memory.py reads. A network that cannot be read is refused: that is never dangerous. What the
    predictor does not know gets no answer.
    """
    if case.run is None:
        said = {"id": case.identifier, "notes": [case.why]}
        return said | ({"fits": None} if case.old else {"fits": False, "verdict": "refuses"})
    return _line(case, predict(case.run))


def _line(case: Case, found: Prediction) -> dict[str, Any]:
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
        "band_parts": {name: _rounded(width) for name, width in found.band_parts},
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
