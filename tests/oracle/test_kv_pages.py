"""Our KV arithmetic against vLLM's own, block for block, for every architecture of the catalogue. Needs
LAB_VLLM_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stacks.catalog.loader import load
from stacks.errors import CatalogError
from stacks.planning.engines.vllm.memory import GIB, Architecture, Attention
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config
from stacks.planning.engines.vllm.memory.kv_cache import Pool, pool
from stacks.planning.engines.vllm.memory.versions import behaviour

SCRIPT = Path(__file__).with_name("vllm_kv_pages.py")
SHARED = Path(os.environ.get("LAB_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
BATCHED, LENGTH = 2048, 8192
VERSION = "0.32.0"  # of the vLLM that the arithmetic is compared with; the test names what it found instead

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not os.environ.get("LAB_VLLM_PYTHON"), reason="LAB_VLLM_PYTHON names no interpreter that has vLLM"
    ),
]


def _configs() -> dict[str, dict[str, Any]]:
    found = {name: dict(config) for name, model in load().models.items() if (config := getattr(model, "config", None))}
    if (SHARED / "model-architectures.json").exists():
        found |= json.loads((SHARED / "model-architectures.json").read_text(encoding="utf-8"))
    if (SHARED / "memory-cases.jsonl").exists():
        rows = [json.loads(line) for line in (SHARED / "memory-cases.jsonl").read_text(encoding="utf-8").splitlines()]
        found |= {f"case {row['input']['geometry_of']}": row["input"]["hf_config"] for row in rows}
    return found


def _jobs() -> list[tuple[str, Architecture, Pool, dict[str, Any]]]:
    jobs = []
    catalogued = load().models
    rules = behaviour(VERSION)
    for name, config in _configs().items():
        try:
            shape = read_hf_config(config)
        except CatalogError:
            continue
        if (
            shape.unmodelled
            or not shape.caches
            or shape.audio  # its cross layers are no specification of the script's
            or any(isinstance(c, Attention) and c.indexer_bytes for c, _ in shape.caches)
        ):
            continue
        for dtype, size, states in (("auto", 2, 1), ("fp8", 1, 2)):
            ours = pool(shape, rules=rules, kv_cache_dtype=dtype, batched=BATCHED, states=states)
            jobs.append(
                (
                    name,
                    shape,
                    ours,
                    _job(shape, config if dtype == "auto" and name in catalogued else None, size=size, states=states),
                )
            )
    return jobs


def _job(shape: Architecture, config: dict[str, Any] | None, *, size: int, states: int) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    for layer in shape.layers:
        if isinstance(layer, Attention):
            kind = "full" if layer.kind == "chunked" else layer.kind
            layers.append(
                {
                    "kind": kind,
                    "kv_heads": layer.kv_heads,
                    "head_dim": layer.head_dim,
                    "head_dim_v": layer.head_dim_v,
                    "window": layer.window,
                }
            )
        elif layer is not None:
            layers.append(
                {"kind": "state", "ssm": layer.ssm_values, "conv": layer.conv_values, "state_bytes": layer.state_bytes}
            )
    return {
        "layers": layers, "value_bytes": size, "block": 16, "batched": BATCHED, "in_flight": 2 * BATCHED,
        "max_model_len": LENGTH,
        "memory": 7 * GIB + 12345, "mamba_cache_mode": "align" if states == 2 else "none", "config": config,
    }  # fmt: skip


@pytest.fixture(scope="module")
def compared() -> list[tuple[str, Architecture, Pool, dict[str, Any], dict[str, Any]]]:
    jobs = _jobs()
    python = os.environ["LAB_VLLM_PYTHON"]
    done = subprocess.run(
        [python, str(SCRIPT)],
        input=json.dumps([job for *_, job in jobs]),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("ORACLE ")), None)
    if line is None and ("ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr):
        pytest.skip(f"{python} cannot import vLLM: {done.stderr.strip().splitlines()[-1]}")
    assert line is not None, done.stderr[-3000:]
    found = json.loads(line.removeprefix("ORACLE "))
    assert found["version"].startswith(VERSION), (
        f"the arithmetic is compared as vLLM {VERSION}; this is {found['version']}"
    )
    return [(*job, answer) for job, answer in zip(jobs, found["answers"], strict=True)]


def test_blocks_needs_and_lengths_are_vllms_own(
    compared: list[tuple[str, Architecture, Pool, dict[str, Any], dict[str, Any]]],
) -> None:
    assert len(compared) > 100
    off: list[str] = []
    for name, _, ours, job, theirs in compared:
        memory = job["memory"]
        mine = {
            "blocks": ours.blocks(memory),
            "needed": ours.needed_bytes(LENGTH),
            "tokens": ours.tokens(memory, LENGTH),
            "concurrency": ours.concurrency(memory, LENGTH),
            "longest": ours.largest_len(memory),
        }
        off.extend(
            f"{name} {key}: ours {value}, vLLM's {theirs[key]}" for key, value in mine.items() if value != theirs[key]
        )
    assert not off, "\n".join(off)


def test_config_json_is_read_as_vllm_reads_it(
    compared: list[tuple[str, Architecture, Pool, dict[str, Any], dict[str, Any]]],
) -> None:
    read = 0
    off: list[str] = []
    for name, shape, _, _, answer in compared:
        theirs = answer["shape"]
        if theirs is None or "unread" in theirs:
            continue
        read += 1
        first = next((layer for layer in shape.layers if isinstance(layer, Attention)), None)
        mine = {
            "hidden": shape.hidden,
            "vocabulary": shape.vocabulary,
            "mla": first is not None and first.kind == "mla",
        }
        if first is not None and first.kind != "mla":
            mine |= {"kv_heads": first.kv_heads, "head_dim": first.head_dim}
        off.extend(
            f"{name} {key}: ours {value}, vLLM's {theirs[key]}" for key, value in mine.items() if value != theirs[key]
        )
    assert read >= 20, [answer["shape"] for *_, answer in compared][:10]
    assert not off, "\n".join(off)
