"""What a model's task asks of vLLM: its runner, what a step must hold at least, and settings that mean nothing to it.

Read in vLLM 0.32.0: config/model.py (_get_runner_type, _get_default_convert_type, is_chunked_prefill_supported),
config/scheduler.py (verify_max_model_len, __post_init__), v1/core/encoder_cache_manager.py (compute_mm_encoder_budget).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stacks.catalog import Image, Model
from stacks.planning.draft import Notes
from stacks.planning.engines.vllm.memory import Architecture
from stacks.settings import VllmModel

POOLING = ("embedding", "rerank")
"""Tasks whose answer is made of hidden states: no sampler, and vLLM's pooling runner."""


@dataclass(frozen=True)
class TaskOptions:
    """What vLLM is told of the task, in its own words; nothing for a model that generates text by itself."""

    runner: Literal["generate", "pooling"] = "generate"
    convert: Literal["embed", "classify"] | None = None
    hf_overrides: dict[str, Any] | None = None
    chat_template: str | None = None


def options(model: Model) -> TaskOptions:
    """The runner is said where it is not the one for text: a checkpoint made from a chat model names the class of that.

    `convert` is said where that class has no pooling of its own.
    """
    if model.task not in POOLING:
        return TaskOptions()
    convert: Literal["embed", "classify"] | None = None
    if model.task == "embedding" and model.architecture.endswith("ForCausalLM"):
        convert = "embed"
    if model.task == "rerank" and model.hf_overrides:
        convert = "classify"
    return TaskOptions("pooling", convert, model.hf_overrides, model.chat_template)


def least_step(shape: Architecture, context: int) -> int:
    """Tokens that one step must hold at least: attention over a whole text, and a whole clip of sound, are not cut into
    steps (no chunked prefill).
    """
    return max(context if shape.encoder or shape.audio else 1, shape.audio.positions if shape.audio else 1)


def check(spec: VllmModel, model: Model, shape: Architecture, image: Image, notes: Notes) -> None:
    """Refuses what the task excludes; decides what it is."""
    where = spec.name
    if model.task == "chat":
        return
    notes.decide("task", model.task, "default", "catalogue", _ASKED[model.task])
    if model.task in POOLING and spec.speculative:
        notes.refuse(f"{where}: speculative has no meaning: {spec.model} generates no text; remove it")
    if model.task in POOLING and spec.lora and spec.lora.modules:
        notes.refuse(f"{where}: lora.modules are not offered for {model.task}; remove them")
    if not shape.caches and spec.kv_cache_dtype != "auto":
        notes.refuse(f"{where}: kvCacheDtype has no meaning: {spec.model} keeps no KV cache; remove it")
    if model.task == "transcription":
        for alias, asked in (("speculative", spec.speculative), ("lora", spec.lora)):
            if asked is not None:
                notes.refuse(f"{where}: {alias} is not offered for speech; remove it")
        if image.device == "cuda" and spec.image is None:
            notes.refuse(
                f"{where}: {image.reference} has no packages that decode sound (docs.vllm.ai, deployment/docker: "
                "optional dependencies are not included); every request would end with 400 Invalid or unsupported "
                f"audio file. Make an image of your own from it, `RUN uv pip install --system "
                f"'vllm[audio]=={image.engine_version}'`, and name it with `image:` (docs/tasks.md)"
            )


_ASKED = {
    "completion": "POST /v1/completions; the checkpoint has no chat template",
    "embedding": "POST /v1/embeddings",
    "rerank": "POST /v1/rerank and /v1/score",
    "transcription": "POST /v1/audio/transcriptions, files of at most 25 MB and ten minutes (vllm/envs.py)",
}
