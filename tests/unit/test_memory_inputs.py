"""Cases are read whole: what is not understood is said, never left out in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from research import cases
from research.predict import main
from tests.unit.test_fit_kv_cache import LLAMA8B, PHI3, QWEN27B

ROOT = Path(__file__).resolve().parents[2]


def row(**given: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "input": {
            "hf_config": LLAMA8B,
            "gpu_total_gib": 23.5,
            "vllm_version": "0.26.0",
            "max_model_len": 8192,
            **given,
        },
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"gpu_count": 2}, "input.gpu_count is not known"),
        ({"speculation": []}, "input.speculation is not an object"),
        ({"speculation": {"method": "magic", "num_speculative_tokens": 1}}, "input.speculation.method is none of mtp"),
        ({"speculation": {"method": "mtp"}}, "num_speculative_tokens is not a number of tokens"),
        ({"speculation": {"method": "eagle3", "num_speculative_tokens": 2}}, "draft_hf_config is needed for eagle3"),
        ({"speculation": {"method": "ngram", "num_speculative_tokens": 2, "n": 3}}, "input.speculation.n is not known"),
        ({"warm_compile_cache": "yes"}, "input.warm_compile_cache is not true or false"),
        ({"filled": "dtype"}, "input.filled is not a list"),
    ],
)
def test_an_input_that_is_not_understood_is_an_error(given: dict[str, Any], problem: str) -> None:
    assert any(problem in said for said in cases.problems(row(**given)))


@pytest.mark.parametrize("version", ["0.6.3", "0.9.1", "0.10.1"])
def test_an_old_version_gets_no_answer_and_is_named(version: str) -> None:
    answered = cases.answer(cases.read(row(vllm_version=version)))
    assert answered["fits"] is None
    assert f"vLLM {version} is older than 0.10.2, which the predictor knows" in answered["notes"]


def test_the_v0_engine_gets_no_answer() -> None:
    assert cases.answer(cases.read(row(engine="V0")))["fits"] is None


def test_what_the_log_did_not_show_is_a_guess() -> None:
    read = cases.read(row(filled=["max_num_seqs", "dtype", "gpu_memory_utilization"], vllm_version_known=False))
    assert read.run is not None
    assert read.run.assumed == {"max_num_seqs", "gpu_memory_utilization", "version"}
    sure = cases.read(row(filled=["gpu_memory_utilization"], vllm_version_known=True)).run
    assert sure is not None
    assert sure.assumed == frozenset()


@pytest.mark.parametrize(
    ("said", "draft_layers"),
    [
        ({"method": "ngram", "num_speculative_tokens": 3}, None),
        ({"method": "mtp", "num_speculative_tokens": 2}, 1),
        ({"method": "draft_model", "num_speculative_tokens": 2, "draft_hf_config": PHI3, "draft_gib": 2.1}, 32),
    ],
)
def test_speculation_is_an_input(said: dict[str, Any], draft_layers: int | None) -> None:
    given = row(speculation=said, hf_config=QWEN27B, gpu_total_gib=80.0)
    assert cases.problems(given) == []
    run = cases.read(given).run
    assert run is not None and run.speculation is not None
    assert (None if run.speculation.draft is None else len(run.speculation.draft.layers)) == draft_layers
    plain = cases.answer(cases.read(row(hf_config=QWEN27B, gpu_total_gib=80.0)))
    assert cases.answer(cases.read(given))["kv_needed_gib"] > plain["kv_needed_gib"]


def test_a_multi_token_prediction_head_is_inside_a_known_checkpoint() -> None:
    head = {"method": "mtp", "num_speculative_tokens": 2}
    known = {"hf_config": QWEN27B, "quantization": "nvfp4", "checkpoint_gib": 23.78, "gpu_total_gib": 31.36}
    computed = {name: value for name, value in known.items() if name != "checkpoint_gib"}

    def weights(given: dict[str, Any]) -> float:
        return float(cases.answer(cases.read(row(**given)))["weights_gib"])

    assert weights(known | {"speculation": head}) == weights(known) == 23.78
    assert weights(computed | {"speculation": head}) > weights(computed)


def test_the_script_answers_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text(json.dumps(row()) + "\n", encoding="utf-8")
    assert main([str(file), "--output", str(tmp_path / "out.jsonl")]) == 0
    answered = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    wanted = {
        "id",
        "fits",
        "verdict",
        "kv_cache_gib",
        "band_gib",
        "kv_cache_tokens",
        "kv_needed_gib",
        "est_max_len",
        "weights_gib",
    }
    assert wanted <= set(answered)
    file.write_text(json.dumps(row(gpu_count=2)) + "\n", encoding="utf-8")
    assert main([str(file)]) == 2
    assert "input.gpu_count is not known" in capsys.readouterr().err


@pytest.mark.long
def test_the_modules_run_as_scripts() -> None:
    for module in ("research.predict", "research.calibrate"):
        arguments = [sys.executable, "-m", module, *(["--help"] if module.endswith("predict") else [])]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, check=True, timeout=60, text=True)
        assert done.stdout
    for name, module in (("predict", "research.predict"), ("calibrate", "research.calibrate")):
        text = (ROOT / "scripts" / name).read_text(encoding="utf-8")
        assert f"-m {module}" in text and (ROOT / "scripts" / name).stat().st_mode & 0o111
