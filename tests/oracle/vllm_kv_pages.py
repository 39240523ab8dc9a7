"""Runs under an interpreter that has vLLM: jobs as JSON on standard input, what vLLM's own KV code makes of them on
standard output.

A job names layers in numbers; the specs, their grouping, the number of blocks, the concurrency and the longest
max_model_len are vLLM's (v1/kv_cache_interface.py, v1/core/kv_cache_utils.py, on no device at all). What vLLM's
ModelConfig reads from the job's config.json comes back beside it where this vLLM can read it without a network.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.update(VLLM_LOGGING_LEVEL="ERROR", HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", DO_NOT_TRACK="1")

import torch
from vllm import __version__
from vllm.utils.math_utils import cdiv
from vllm.v1.core import kv_cache_utils
from vllm.v1.kv_cache_interface import FullAttentionSpec, MambaSpec, MLAAttentionSpec, SlidingWindowSpec
from vllm.v1.kv_cache_layout import KVCacheLayout


def specs(job: dict[str, Any]) -> dict[str, Any]:
    dtype = {1: torch.float8_e4m3fn, 2: torch.bfloat16, 4: torch.float32}[job["value_bytes"]]
    block = job["block"]

    def attention(layer: dict[str, Any], size: int) -> Any:
        shape = {"num_kv_heads": layer["kv_heads"], "head_size": layer["head_dim"], "dtype": dtype, "block_size": size}
        if layer["kind"] == "mla":
            return MLAAttentionSpec(**shape)
        shape["head_size_v"] = layer["head_dim_v"]
        return (
            SlidingWindowSpec(**shape, sliding_window=layer["window"])
            if layer["kind"] == "sliding"
            else FullAttentionSpec(**shape)
        )

    def state(layer: dict[str, Any], padded: int | None = None) -> Any:
        shapes, dtypes = (
            ((layer["ssm"],), (layer["conv"],)),
            (torch.float32 if layer["state_bytes"] == 4 else torch.bfloat16, torch.bfloat16),
        )
        return MambaSpec(
            shapes=shapes,
            dtypes=dtypes,
            block_size=block,
            page_size_padded=padded,
            mamba_cache_mode=job["mamba_cache_mode"],
        )

    states = [layer for layer in job["layers"] if layer["kind"] == "state"]
    others = [layer for layer in job["layers"] if layer["kind"] != "state"]
    padded = None
    if states and others:  # platforms/interface.py _align_hybrid_block_size
        token = attention(others[0], 1).page_size_bytes
        alignment = 128 if others[0]["kind"] == "mla" else block
        block = max(block, alignment * cdiv(max(state(layer).page_size_bytes for layer in states), alignment * token))
        padded = block * token
    return {
        f"layer.{i}": state(layer, padded) if layer["kind"] == "state" else attention(layer, block)
        for i, layer in enumerate(job["layers"])
    }


def settings(job: dict[str, Any]) -> Any:
    """The few fields of VllmConfig that the KV code looks at."""
    return SimpleNamespace(
        model_config=SimpleNamespace(
            max_model_len=job["max_model_len"], original_max_model_len=job["max_model_len"], hf_config=None
        ),
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=False, max_num_batched_tokens=job["batched"]),
        cache_config=SimpleNamespace(
            num_gpu_blocks_override=None,
            mamba_cache_mode=job["mamba_cache_mode"],
            prefix_cache_retention_interval=None,
            get_resolved_kv_cache_layout=lambda: KVCacheLayout.LBNHC,
        ),
        parallel_config=SimpleNamespace(
            decode_context_parallel_size=1, tensor_parallel_size=1, prefill_context_parallel_size=1
        ),
        attention_config=SimpleNamespace(hisparse_config=None),
        speculative_config=None,
        num_prefill_lookahead_tokens=0,
        max_in_flight_tokens=job["in_flight"],
    )


def answer(job: dict[str, Any]) -> dict[str, Any]:
    config, layers = settings(job), specs(job)
    groups = kv_cache_utils.get_kv_cache_groups(config, dict(layers))
    block = kv_cache_utils._pool_bytes_per_block(config, groups)
    built = kv_cache_utils.get_kv_cache_config_from_groups(config, groups, job["memory"])
    needed = kv_cache_utils._max_memory_usage_bytes_from_groups(config, groups)
    tokens, concurrency = kv_cache_utils.get_kv_cache_capacity(config, built)
    config.model_config.max_model_len = 1 << 24
    longest = kv_cache_utils._estimate_max_model_len_from_groups(config, groups, job["memory"] - block)
    return {
        "blocks": built.num_blocks,
        "needed": needed,
        "tokens": tokens,
        "concurrency": concurrency,
        "longest": longest,
    }


def shape(config: dict[str, Any]) -> dict[str, Any] | None:
    """What vLLM's ModelConfig reads of a config.json; None where it cannot without the network or the model's own
    code.
    """
    from vllm.config import ModelConfig

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        try:
            model = ModelConfig(
                model=folder, skip_tokenizer_init=True, max_model_len=1024, dtype="bfloat16", enforce_eager=True
            )
            parallel = SimpleNamespace(tensor_parallel_size=1, decode_context_parallel_size=1, pipeline_parallel_size=1)
            return {
                "layers": model.hf_text_config.num_hidden_layers,
                "mla": bool(model.use_mla),
                "kv_heads": model.get_num_kv_heads(parallel),
                "head_dim": model.get_head_size(),
                "hidden": model.get_hidden_size(),
                "vocabulary": model.get_vocab_size(),
            }
        except Exception as error:  # noqa: BLE001  (any reason is a reason to skip, and is named)
            return {"unread": f"{type(error).__name__}: {error}"[:200]}


def main() -> None:
    jobs = json.load(sys.stdin)
    answers = [answer(job) | {"shape": shape(job["config"]) if job.get("config") else None} for job in jobs]
    print("ORACLE " + json.dumps({"version": __version__, "answers": answers}))


if __name__ == "__main__":
    main()
