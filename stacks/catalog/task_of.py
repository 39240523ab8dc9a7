"""What a checkpoint is for, from its class and from what lies beside its weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

SPEECH = ("WhisperForConditionalGeneration",)
_ORIGINAL_RERANKER = {
    # a language model whose "yes" is the score: vLLM examples/pooling/score, model_executor/models/config.py
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}


def task_of(
    called: str, config: Mapping[str, Any], files: Collection[str], known: Mapping[str, Any], *, chat_template: bool
) -> dict[str, Any]:
    """`task` of an entry, and the keys that go with it. `called` is its repository's name, `known` the lists of
    architectures.yaml.
    """
    names: Sequence[str] = config["architectures"]
    if any(name in SPEECH for name in names):
        return {"devices": ["cuda"], "task": "transcription"}
    if any(name in known["rerank"] for name in names):
        return {"task": "rerank"}
    if "rerank" in called and "Qwen3ForCausalLM" in names:
        template = {"chatTemplate": "chat_template.jinja"} if "chat_template.jinja" in files else {}
        return {"task": "rerank", "hfOverrides": _ORIGINAL_RERANKER, **template}
    if "modules.json" in files or any(name in known["embed"] for name in names):
        return {"task": "embedding"}
    return {"task": "chat" if chat_template else "completion"}


def label_problem(config: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a cross-encoder cannot order documents: it needs one score a pair (vLLM: num_labels 1)."""
    labels = config.get("id2label")
    if not any(name in known["rerank"] for name in config["architectures"]) or not isinstance(labels, Mapping):
        return None
    if len(labels) == 1:
        return None
    return (f"it sorts texts into {len(labels)} classes, which no API of the lab serves", "take a reranker: one label")
