"""Refits the widths of the predictor's error band, and shows what they are worth: scripts/calibrate.

Four tables, one vote a machine (a source) and not a row:

  machines     the width of each class: how far the worst machine fell short of its prediction, beyond what the other
               parts of its band explain; for classes with more to their band, what covers 94 % of machines.
  left out     each machine judged by the widths of the others: coverage, outcomes.
  learning     for machines with two and more rows: the error before, and after learning from the first of them.
  constants    what the rows of a fitted constant imply for it, each machine's median.

Everything is deterministic and takes seconds; tests/unit/test_memory_calibration.py holds the catalogue to it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from research.observations import Observation, forget, observations
from research.widths import MACHINE, band_with, by_source, machine_widths, shortfall_gib, unexplained_gib, up
from stacks.planning.engines.vllm.memory import EngineRun, Verdict, learn, predict
from stacks.planning.engines.vllm.memory.band import CLASSES, band_parts, classes_of
from stacks.planning.engines.vllm.memory.constants import all_constants, described
from stacks.planning.engines.vllm.memory.parts import parts_of


@dataclass
class Score:
    """Counts over rows; `bands` GiB."""

    rows: int = 0
    covered: int = 0
    bands: tuple[float, ...] = ()
    outcomes: int = 0
    said_fits: int = 0
    dangerous: int = 0
    close: int = 0
    timid: int = 0

    def add(self, row: Observation, band: float | None) -> None:
        if row.kv_gib is not None and band is not None:
            self.rows += 1
            self.covered += shortfall_gib(row) <= band
            self.bands = (*self.bands, band)
        if row.started is None:
            return
        verdict = predict(row.run).verdict
        self.outcomes += 1
        self.said_fits += verdict is Verdict.FITS
        self.dangerous += verdict is Verdict.FITS and not row.started
        self.close += verdict is Verdict.TOO_CLOSE
        self.timid += verdict is Verdict.REFUSES and row.started

    def line(self, label: str) -> str:
        share = f"{100 * self.covered / self.rows:5.1f} %" if self.rows else "    -  "
        middle = f"{statistics.median(self.bands):.2f}" if self.bands else "-"
        return (
            f"  {label:12s} rows {self.rows:3d}  KV >= predicted - band {share}  median band {middle:>5s} GiB  "
            f"outcomes {self.outcomes:3d}  fits {self.said_fits:3d}  dangerous {self.dangerous}  "
            f"too close {self.close:2d}  timid {self.timid}"
        )


def scores(rows: Sequence[Observation], *, left_out: bool) -> dict[str, Score]:
    """By class and for "all". `left_out`: each machine under the widths of the others."""
    found = {name: Score() for name in (*CLASSES, "all")}
    together = machine_widths(rows)
    for source, mine in by_source(rows).items():
        widths = machine_widths([row for row in rows if row.source != source]) if left_out else together
        with _machine_widths_are(widths):
            for row in mine:
                band = band_with(row, widths) if row.kv_gib is not None else None
                for name in (*classes_of(row.run), "all"):
                    found[name].add(row, band)
    return found


@contextmanager
def _machine_widths_are(widths: dict[str, float]) -> Iterator[None]:
    """Verdicts under other widths than the catalogue's."""
    values, wanted = all_constants(), {f"bandMachine.{name}GiB": width for name, width in widths.items()}
    own = {path: values[path] for path in wanted}
    if own == wanted:
        yield
        return
    values.update(wanted)
    forget()
    yield
    values.update(own)
    forget()


def missed(rows: Sequence[Observation]) -> list[tuple[Observation, float]]:
    """Rows that are not covered once their machine is left out, with the band of the others."""
    found = []
    for source, mine in by_source(row for row in rows if row.kv_gib is not None).items():
        widths = machine_widths([row for row in rows if row.source != source])
        bands = [(row, band_with(row, widths)) for row in mine]
        found += [(row, band) for row, band in bands if shortfall_gib(row) > band]
    return found


@dataclass(frozen=True)
class Learned:
    """One machine: errors in GiB of the rows after the first, before and after learning from the first."""

    source: str
    before: tuple[float, ...]
    same: tuple[float, ...]
    other: tuple[float, ...]
    unexplained: tuple[float, ...]
    """Of `other`, what the rest of the band leaves to the machine."""
    bands: tuple[float, ...]
    covered: int


def learning(rows: Sequence[Observation]) -> list[Learned]:
    """Machines with two and more rows, of as many cards, whose KV cache counts. `same`: rows of the model learned
    from.
    """
    found = []
    for source, mine in by_source(row for row in rows if row.kv_gib is not None).items():
        first, *others = mine
        rest = [row for row in others if row.run.cards == first.run.cards]
        if not rest or first.kv_gib is None:
            continue
        measured = learn(_as_it_was(first), kv_gib=first.kv_gib, weights_gib=first.weights_gib)
        before: list[float] = []
        same: list[float] = []
        other: list[float] = []
        unexplained: list[float] = []
        bands: list[float] = []
        covered = 0
        for row in rest:
            after = replace(row, run=replace(_as_it_was(row), measured=measured))
            before.append(shortfall_gib(row))
            (same if row.run.model_key == first.run.model_key else other).append(shortfall_gib(after))
            if row.run.model_key != first.run.model_key:
                unexplained.append(unexplained_gib(after))
            bands.append(predict(after.run).band_gib)
            covered += shortfall_gib(after) <= bands[-1]
        found.append(
            Learned(
                source=source,
                before=tuple(before),
                same=tuple(same),
                other=tuple(other),
                unexplained=tuple(unexplained),
                bands=tuple(bands),
                covered=covered,
            )
        )
    return found


def _as_it_was(row: Observation) -> EngineRun:
    return replace(row.run, warm_compile_cache=row.warm)


def measured_widths(rows: Sequence[Observation]) -> dict[str, float]:
    """GiB: how far the worst row falls short after its machine was measured, by the catalogue's names."""
    found = learning(rows)
    return {
        "startGiB": up(max(error for one in found for error in (*one.same, 0.0))),
        "modelGiB": up(max(error for one in found for error in (*one.unexplained, 0.0))),
    }


def implied(path: str, rows: Sequence[Observation]) -> dict[str, float]:
    """What the rows of a constant say that it should be: each machine's median. A row on which it has no effect says
    nothing. The profiling run's phases are compared with the activation where it was printed.
    """
    named, phase = set(described()[path].rows), path.partition(".")[0] in ("sampler", "forward", "compile")
    values, given = all_constants(), all_constants()[path]
    nudge = 0.01 * given
    said: dict[str, list[float]] = {}
    for row in rows:
        if row.identifier not in named:
            continue
        off = _activation_off if phase and row.activation_gib is not None else _kv_off
        if off is _kv_off and (row.kv_gib is None or phase):
            continue
        short = off(row)
        values[path] = given + nudge
        forget()
        slope = (off(row) - short) / nudge
        values[path] = given
        forget()
        if abs(slope) * given > 0.02:
            said.setdefault(row.source, []).append(given - short / slope)
    return {source: statistics.median(numbers) for source, numbers in said.items()}


def _kv_off(row: Observation) -> float:
    return -shortfall_gib(row)


def _activation_off(row: Observation) -> float:
    """Since 0.28 the printed activation is what torch's peak had beyond what is allocated: near the same."""
    return parts_of(_as_it_was(row)).activation - (row.activation_gib or 0.0)


def main(show: Callable[[str], object] = print) -> None:
    rows = observations()
    machines = len(by_source(row for row in rows if row.kv_gib is not None))
    show(f"{len(rows)} starts of {len(by_source(rows))} sources; the KV cache counts on {machines} machines")
    show("machines, half width in GiB (catalogue):")
    for name, width in machine_widths(rows).items():
        show(f"  {name:12s} {width:.2f} ({all_constants()[f'bandMachine.{name}GiB']:.2f})")
    for label, left_out in (("all machines", False), ("each machine left out", True)):
        show(f"{label}:")
        for name, score in scores(rows, left_out=left_out).items():
            show(score.line(name))
    for row, band in missed(rows):
        parts = ", ".join(f"{name} {width:.2f}" for name, width in band_parts(row.run) if name not in MACHINE)
        short = f"short by {shortfall_gib(row):.2f} GiB, band {band:.2f}"
        show(f"  missed: {row.identifier} of {row.source}: {short} ({parts})")
    main_ground = by_source(r for r in rows if r.kv_gib is not None and classes_of(r.run) == ("main",))
    share = f"{len(main_ground)} of {len(main_ground) + 1}, {len(main_ground) / (len(main_ground) + 1):.1%}"
    show(f"  main: the worst of {len(main_ground)} machines sets the width, which promises the next one in {share}")
    show("learning from the first start of a machine, mean |error| in GiB of the others (same model / other models):")
    for one in learning(rows):
        show(
            f"  {one.source[-40:]:40s} {_mean(one.before)} -> {_mean(one.same)} / {_mean(one.other)}"
            f"  ({len(one.before)} rows)"
        )
    learned = learning(rows)
    bands = [band for one in learned for band in one.bands]
    covered = sum(one.covered for one in learned)
    show(f"  median band {statistics.median(bands):.2f} GiB, {covered} of {len(bands)} rows within it")
    for name, width in measured_widths(rows).items():
        show(f"  {name:12s} {width:.2f} ({all_constants()[f'bandMeasured.{name}']:.2f})")
    show("constants: value, and what their machines imply (median, smallest, largest):")
    for path, fact in described().items():
        said = sorted(implied(path, rows).values()) if fact.rows else []
        if said:
            middle = statistics.median(said)
            show(f"  {path:30s} {fact.value:<8g} {middle:8.3g}  {said[0]:8.3g} .. {said[-1]:8.3g}  of {len(said)}")


def _mean(errors: tuple[float, ...]) -> str:
    return f"{statistics.fmean(abs(error) for error in errors):.3f}" if errors else "  -  "


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the reader has seen enough
        sys.stderr.close()
