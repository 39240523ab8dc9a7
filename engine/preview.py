"""The preview: runs the program against the planner and puts the result together."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine import urns
from engine.model import Diagnostic, Preview, Program, StackConfig, Step
from engine.monitor import Monitor
from engine.planner import Planner
from engine.program import run_program
from engine.state import read_state
from engine.wire import BLINDED

_SHORTEST_SECRET = 3  # shorter ones would blind ordinary words; the CLI draws the same line


def preview(program: Program, config: StackConfig, state: Path | None = None, parallel: int = 4) -> Preview:
    """Says what `up` would do, without doing it: no command runs, no cluster is asked, no file is written.

    `state` is a deployment document as `pulumi stack export` writes it; without one everything is new. A failing program
    or a refused resource is told in the result's diagnostics, with `ok` false. Raises EngineError for a broken state
    file or a broken `pulumi:disable-default-providers`.
    """
    started = time.monotonic()
    recorded = read_state(state)
    planner = Planner(program.project, program.stack, config.values, recorded)
    monitor = Monitor(planner)
    for urn in recorded.interrupted:
        monitor.report("warning", f"an earlier run was interrupted while it worked on {urn}", urn)
    run_program(program, config, monitor, parallel)
    # A program that stopped half-way says nothing about what is to be deleted.
    steps = in_order(planner.steps) + ([] if monitor.failed else planner.deletions())
    secrets = [value for key, value in config.values.items() if key in config.secret_keys and len(value) >= _SHORTEST_SECRET]
    return Preview(
        steps=tuple(steps),
        outputs=monitor.outputs,
        diagnostics=tuple(_hide(item, secrets) for item in planner.diagnostics),
        ok=not monitor.failed and not planner.refused,
        config=config.blinded(),
        duration=time.monotonic() - started,
    )


def _hide(item: Diagnostic, secrets: Sequence[str]) -> Diagnostic:
    """The message without the secrets that the program may have printed."""
    for secret in secrets:
        item = replace(item, message=item.message.replace(secret, BLINDED))
    return item


def in_order(steps: Sequence[Step]) -> list[Step]:
    """The steps with every resource after what it needs, and otherwise by URN: the same in each run, whatever the threads did."""
    known = {step.urn: step for step in steps}
    waiting = {step.urn: _needs(step) & known.keys() for step in steps}
    ready = [urn for urn, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    ordered: list[Step] = []
    while ready:
        done = heapq.heappop(ready)
        ordered.append(known[done])
        for urn, needs in waiting.items():
            if done in needs:
                needs.remove(done)
                if not needs:
                    heapq.heappush(ready, urn)
    return ordered


def _needs(step: Step) -> set[str]:
    provider = urns.reference_urn(step.provider) if step.provider else ""
    return {step.parent, provider, step.deleted_with, *step.dependencies} - {step.urn}
