"""The error band is what the calibration rows say, and keeps what it promises on them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from research.calibrate import implied, learning, measured_widths, missed, scores
from research.observations import Observation, observations
from research.widths import by_source, machine_widths
from stacks.planning.engines.vllm.memory.band import CLASSES
from stacks.planning.engines.vllm.memory.constants import all_constants, described
from stacks.planning.engines.vllm.memory.parts import parts_of

RESEARCH = Path(__file__).resolve().parents[2] / "research"


@pytest.fixture(scope="module")
def rows() -> tuple[Observation, ...]:
    return observations()


# Read in vLLM's source, a format or a specification; or a judgement about what no row shows, and then a width.
NOT_FITTED = {
    "weights.groupScalesBytes",
    "weights.ropeBytes",
    "weights.mxfp4PadWidth",
    "weights.mxfp4PadExpert",
    "sampler.secondBytes",
    "forward.imageTokens",
    "context.flashinferGiB",
    "bandParts.samplerShare",
    "bandParts.unmodelledShare",
    "bandParts.versionGiB",
    "bandFree.lateGiB",
}


def test_every_fitted_constant_names_the_rows_that_it_rests_on(rows: tuple[Observation, ...]) -> None:
    known = {row.identifier for row in rows}
    for path, fact in described().items():
        assert set(fact.rows) <= known, path
    assert {path for path, fact in described().items() if not fact.rows} == NOT_FITTED


def test_rows_are_figures_and_their_public_source() -> None:
    """No words of a report: every text is an id, a source, a name of a card or network, or a flag's value."""
    for line in (RESEARCH / "observations.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert set(row) <= {"id", "source", "network", "input", "observed", "use", "warm_compile_cache", "corrected"}
        assert row["source"]
        texts = [value for value in row["input"].values() if isinstance(value, str)]
        assert all(len(text) <= 40 for text in texts)
        assert all(isinstance(value, int | float | str) for value in row["observed"].values())


def test_the_widths_of_the_catalogue_are_those_of_the_refit(rows: tuple[Observation, ...]) -> None:
    for name, width in machine_widths(rows).items():
        assert all_constants()[f"bandMachine.{name}GiB"] == pytest.approx(width, abs=0.011), name
    for name, width in measured_widths(rows).items():
        assert width <= all_constants()[f"bandMeasured.{name}"] <= width + 0.06, name


def test_the_band_keeps_what_it_promises(rows: tuple[Observation, ...]) -> None:
    found = scores(rows, left_out=False)
    for name in CLASSES:
        score = found[name]
        assert score.covered >= (0.95 if name == "main" else 0.9) * score.rows, name
    together = found["all"]
    assert together.dangerous <= 0.01 * together.said_fits
    assert together.timid <= 0.02 * together.outcomes
    assert together.close <= 0.18 * together.outcomes
    middle = sorted(found["main"].bands)[len(found["main"].bands) // 2]
    assert middle <= 0.7


def test_a_machine_that_was_left_out_is_covered(rows: tuple[Observation, ...]) -> None:
    """Sources vote once; the worst machine of the main ground sets its width: it alone may miss without itself."""
    found = scores(rows, left_out=True)
    for name in CLASSES:
        assert found[name].covered >= 0.9 * found[name].rows, name
    assert found["all"].covered >= 0.95 * found["all"].rows
    assert found["all"].dangerous <= 0.01 * found["all"].said_fits
    misses = missed(rows)
    assert len(misses) == found["all"].rows - found["all"].covered
    assert len({row.source for row, _ in misses}) <= 1
    assert all("version" in row.run.assumed for row, _ in misses)  # of those whose version was printed none


def test_one_start_of_a_machine_says_more_than_the_formulas(rows: tuple[Observation, ...]) -> None:
    learned = learning(rows)
    assert len(learned) >= 8
    before = [abs(error) for one in learned for error in one.before]
    after = [abs(error) for one in learned for error in (*one.same, *one.other)]
    assert sum(after) <= 0.6 * sum(before)
    bands = sorted(band for one in learned for band in one.bands)
    assert bands[len(bands) // 2] <= 0.15
    assert sum(one.covered for one in learned) >= 0.9 * len(bands)


@pytest.mark.parametrize(
    "path", ["sampler.sortBytes", "sampler.flashinferBytes", "forward.hiddenCopies", "compile.besideTableGiB"]
)
def test_a_constant_lies_among_what_its_machines_imply(rows: tuple[Observation, ...], path: str) -> None:
    said = implied(path, rows)
    value = described()[path].value
    assert said
    assert 0.9 * min(said.values()) <= value <= 1.1 * max(said.values())


def test_the_peaks_of_one_measured_machine_are_what_was_printed(rows: tuple[Observation, ...]) -> None:
    """13 starts on an H100, read to a tenth of a MiB: dense, sliding, MoE, MLA, four quantizations, compiled or not."""
    printed = [row for row in rows if row.source.startswith("measured:") and row.activation_gib is not None]
    assert len(printed) == 13
    off = {row.identifier: parts_of(row.run).activation - (row.activation_gib or 0.0) for row in printed}
    assert all(abs(error) <= 0.05 for error in off.values()), off
    assert sorted(abs(error) for error in off.values())[6] <= 0.01


def test_the_calibration_is_deterministic(rows: tuple[Observation, ...]) -> None:
    before = dict(all_constants())
    first = implied("graphs.estimateGiB", rows)
    assert implied("graphs.estimateGiB", rows) == first
    assert all_constants() == before
    assert len(by_source(rows)) > 50


def test_left_out_verdicts_are_those_of_the_others_widths(
    rows: tuple[Observation, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = scores(rows, left_out=True)
    monkeypatch.setattr("research.calibrate.machine_widths", lambda _rows: dict.fromkeys(CLASSES, 3.0))
    wide = scores(rows, left_out=True)
    assert wide["all"].close > narrow["all"].close
    monkeypatch.undo()
    assert scores(rows, left_out=True)["all"].close == narrow["all"].close
