"""What is not known widens the band, what was measured narrows it; what a request may ask for is counted."""

from __future__ import annotations

import time
from dataclasses import replace
from math import sqrt
from typing import Any

import pytest

from stacks.planning.engines.vllm.memory import (
    Condition,
    EngineRun,
    Measured,
    OldVersionError,
    Prediction,
    Verdict,
    learn,
    mtp_head,
    predict,
    read_hf_config,
)
from stacks.planning.engines.vllm.memory.band import classes_of
from tests.unit.test_fit_kv_cache import DEEPSEEK_LITE, GEMMA27B, LLAMA8B, PHI3, QWEN27B


def make(config: dict[str, Any] = LLAMA8B, **options: Any) -> EngineRun:
    given: dict[str, Any] = {
        "version": "0.26.0", "total_gib": 23.5, "capability": (8, 6), "gpu_memory_utilization": 0.9, "max_num_seqs": 16,
        "max_num_batched_tokens": 2048, "max_model_len": 4096, "prompt_logprobs": False,
    }  # fmt: skip
    return EngineRun(architecture=read_hf_config(config), **given | options)


def parts(run: EngineRun) -> dict[str, float]:
    return dict(predict(run).band_parts)


def test_the_band_is_the_root_of_the_squares_of_its_parts() -> None:
    found = predict(make(quantization="awq"))
    assert found.band_gib == pytest.approx(sqrt(sum(width**2 for _, width in found.band_parts)))


def test_a_known_checkpoint_narrows_the_band_of_a_quantized_network() -> None:
    computed, known = make(QWEN27B, quantization="nvfp4"), make(QWEN27B, quantization="nvfp4", checkpoint_gib=21.81)
    assert parts(computed)["weights"] > 5 * parts(known)["weights"]


def test_recurrent_mixers_may_be_kept_in_16_bit() -> None:
    assert parts(make(QWEN27B, quantization="awq"))["weights"] > 1.5
    assert parts(make(LLAMA8B, quantization="awq"))["weights"] < 0.3


@pytest.mark.parametrize(
    ("options", "classes"),
    [
        ({}, ("main",)),
        ({"wsl2": True}, ("wsl2",)),
        ({"config": QWEN27B, "multimodal": True, "tensor_parallel": 2}, ("hybrid", "multimodal", "ranks")),
        ({"pipeline_parallel": 2}, ("ranks",)),
    ],
)
def test_a_run_knows_its_classes(options: dict[str, Any], classes: tuple[str, ...]) -> None:
    assert classes_of(make(**options)) == classes


def test_guesses_widen_the_band() -> None:
    plain = make(GEMMA27B, max_num_seqs=8, total_gib=80.0)
    for field in ("version", "gpu_memory_utilization", "max_num_batched_tokens"):
        guess = replace(plain, assumed=frozenset({field}), enforce_eager=True)
        assert predict(guess).band_gib > predict(replace(plain, enforce_eager=True)).band_gib, field
    assert "version is a guess" in predict(replace(plain, assumed=frozenset({"version"}))).notes


def test_a_cold_compile_cache_costs_at_least_an_embedding_table() -> None:
    table = 128256 * 4096 * 2 / 2**30
    cold, warm = predict(make(LLAMA8B)), predict(make(LLAMA8B, warm_compile_cache=True))
    assert cold.activation_gib > table > warm.activation_gib
    assert cold.kv_gib is not None and warm.kv_gib is not None
    assert warm.kv_gib - cold.kv_gib > 0.5
    assert predict(make(LLAMA8B, enforce_eager=True)).activation_gib == warm.activation_gib


def test_the_v2_runner_charges_logits_alone_and_v1_its_sampler() -> None:
    many = make(LLAMA8B, max_num_seqs=256, enforce_eager=True)
    charged = [predict(replace(many, version=version)).activation_gib for version in ("0.26.0", "0.23.0", "0.12.0")]
    assert charged == sorted(charged)
    assert charged[2] == pytest.approx(256 * 128256 * 38.3 / 2**30, rel=0.05)


def test_an_mla_prefill_projects_up_what_a_long_context_may_hold() -> None:
    # 65,536 rows of 16 heads x (128 + 128) values of 2 bytes are 0.5 GiB; 8 x 1024 tokens an eighth of it.
    long, short = make(DEEPSEEK_LITE, max_model_len=163840), make(DEEPSEEK_LITE, max_model_len=1024)
    more = (
        predict(replace(long, enforce_eager=True)).activation_gib
        - predict(replace(short, enforce_eager=True)).activation_gib
    )
    assert more == pytest.approx(0.5 * 7 / 8, abs=0.001)


def test_fits_needs_more_than_the_band_and_refuses_too() -> None:
    run = make(LLAMA8B, enforce_eager=True)
    for step in range(60):
        found: Prediction = predict(replace(run, gpu_memory_utilization=0.65 + step / 200))
        if found.failed in (Condition.KV_TOO_SMALL, Condition.NO_KV):
            assert found.kv_gib is not None
            margin = found.kv_gib - found.kv_needed_gib
            assert (found.verdict is Verdict.FITS) == (margin >= found.band_gib)


def test_a_version_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(OldVersionError, match=r"vLLM 0\.9\.1 is older than 0\.10\.2, which the predictor knows"):
        predict(make(version="0.9.1"))


def test_one_start_narrows_the_band_and_moves_the_prediction() -> None:
    run = make(LLAMA8B)
    before = predict(run)
    assert before.kv_gib is not None
    measured = learn(run, kv_gib=before.kv_gib - 0.4, weights_gib=14.99)
    after = predict(replace(run, measured=measured, gpu_memory_utilization=0.8))
    assert after.kv_gib == pytest.approx(before.kv_gib - 0.4 - 0.1 * 23.5, abs=1e-6)
    assert after.band_gib <= 0.05 < before.band_gib
    other = make(PHI3, measured=measured)
    assert after.band_gib < predict(other).band_gib < predict(make(PHI3)).band_gib
    assert predict(other).weights_gib == predict(make(PHI3)).weights_gib


def test_what_a_machine_holds_at_start_may_be_measured() -> None:
    run = make(LLAMA8B, gpu_memory_utilization=0.96)
    assert predict(run).failed is not Condition.FREE_MEMORY
    assert predict(replace(run, measured=Measured(context_gib=1.5))).failed is Condition.FREE_MEMORY


def test_nothing_is_learned_from_a_given_kv_cache() -> None:
    with pytest.raises(ValueError, match="given KV cache"):
        learn(make(kv_cache_memory_gib=1.0), kv_gib=1.0)


@pytest.mark.parametrize(
    ("version", "seen_gib"),
    [
        # 0.26: two chunks of 1024 rows in bfloat16; two times 250.5 MiB for Llama-3.1-8B.
        ("0.26.0", 2 * 1024 * 128256 * 2 / 2**30),
        # 0.20: the rows of a step in bfloat16, a copy and their log_softmax in float32.
        ("0.20.0", 2048 * 128256 * 10 / 2**30),
    ],
)
def test_prompt_logprobs_are_counted_beside_the_kv_cache(version: str, seen_gib: float) -> None:
    plain, asked = make(version=version), make(version=version, prompt_logprobs=True)
    assert predict(plain).serving_peak_gib == 0
    assert predict(asked).serving_peak_gib == pytest.approx(seen_gib)
    held = (predict(asked).in_use_gib or 0.0) - (predict(plain).in_use_gib or 0.0)
    assert held == pytest.approx(seen_gib)


def test_a_card_without_room_for_prompt_logprobs_does_not_fit() -> None:
    free = 23.5 - 0.45 - predict(make()).weights_gib - predict(make()).non_torch_gib
    started = make(version="0.26.0", enforce_eager=True, kv_cache_memory_gib=free - 0.6)
    assert predict(started).fits
    found = predict(replace(started, prompt_logprobs=True))
    assert not found.fits
    assert found.failed is Condition.AFTER_KV


def test_draft_tokens_widen_the_convolution_state() -> None:
    # 10,240 channels x (3 + 2) positions x 2 bytes + 3,145,728 bytes of state: 793.0 tokens of 4096 bytes, so 800.
    from stacks.planning.engines.vllm.memory import Speculation
    from stacks.planning.engines.vllm.memory.resolved import pool_of

    plain = make(QWEN27B, version="0.20.0")
    head = Speculation(tokens=2, draft=mtp_head(plain.architecture), inside=True)
    assert {group.block for group in pool_of(plain).groups} == {784}
    assert {group.block for group in pool_of(replace(plain, speculation=head)).groups} == {800}


def test_a_pipeline_has_one_batch_in_flight_before_026() -> None:
    from stacks.planning.engines.vllm.memory.resolved import pool_of

    stages = [
        pool_of(make(GEMMA27B, version=version, pipeline_parallel=2)).in_flight for version in ("0.21.0", "0.26.0")
    ]
    assert stages == [2048, 3 * 2048]


def test_a_prediction_takes_a_millisecond() -> None:
    runs = [make(LLAMA8B, max_model_len=1024 + step, assumed=frozenset({"version"})) for step in range(200)]
    start = time.perf_counter()
    for run in runs:
        predict(run)
    assert time.perf_counter() - start < 2.0
