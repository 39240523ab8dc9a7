"""What a quantized checkpoint keeps in 16 bit is read in its own list of layers."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.catalog import load
from stacks.planning.engines.vllm.memory import EngineRun, read_hf_config
from stacks.planning.engines.vllm.memory.weights import unknown_gib, weights_gib

GEMMA = "gemma-4-31b-it-nvfp4"


def config(name: str, **quantization: Any) -> dict[str, Any]:
    own = load().model(name).config
    return {**own, "quantization_config": {**own["quantization_config"], **quantization}}


def run(made: dict[str, Any], quantization: str = "nvfp4") -> EngineRun:
    return EngineRun(
        architecture=read_hf_config(made), version="0.31.0", total_gib=80.0, quantization=quantization, multimodal=True
    )


def test_attention_that_is_kept_counts_in_16_bit() -> None:
    """A 5090 had 29.39 GiB allocated when loading this checkpoint ran out of memory (vllm-project/vllm#40291)."""
    assert 29.39 < weights_gib(run(config(GEMMA))) < 32
    assert weights_gib(run(config(GEMMA, ignore=["lm_head"]))) < 20


@pytest.mark.parametrize(
    ("listed", "share"),
    [
        (["model.language_model.layers.*.self_attn*"], 1.0),
        (["re:.*self_attn.*"], 1.0),
        ([f"model.language_model.layers.{n}.self_attn*" for n in range(60)], 1.0),
        ([f"model.language_model.layers.{n}.self_attn" for n in range(30)], 0.5),
        (["lm_head", "model.language_model.layers.0.self_attn.q_proj"], 0.0),
        ([], 0.0),
    ],
)
def test_a_list_names_layers_one_by_one_or_with_a_wildcard(listed: list[str], share: float) -> None:
    whole = read_hf_config(config(GEMMA, ignore=["re:.*self_attn.*"])).kept_weights
    assert read_hf_config(config(GEMMA, ignore=listed)).kept_weights == pytest.approx(share * whole, abs=1)


def test_recurrent_mixers_that_are_listed_leave_nothing_unknown() -> None:
    name = "qwen3.5-122b-a10b-nvfp4"
    known, unsure = run(config(name)), run(config(name, ignore=["lm_head"]))
    assert known.architecture.recurrent_kept
    assert not unsure.architecture.recurrent_kept
    assert weights_gib(known) > weights_gib(unsure)
    assert unknown_gib(known) < unknown_gib(unsure)


def test_the_mlp_beside_the_experts_of_gemma_4_is_counted() -> None:
    experts = read_hf_config(load().model("gemma-4-26b-a4b").config).experts
    assert experts is not None
    assert experts.shared == 2112
