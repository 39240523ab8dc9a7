"""`up` and `down`: one run from the lock to the result."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import urns
from engine.apply import checks
from engine.apply.applier import Applier
from engine.apply.events import Event, Result, Voice
from engine.apply.handlers import Handlers, is_object, secret_texts
from engine.apply.interrupt import Interrupt
from engine.apply.ledger import Ledger
from engine.apply.lock import lock_state
from engine.apply.monitor import ApplyMonitor
from engine.apply.process import Surroundings
from engine.apply.sweep import Sweeper
from engine.errors import EngineError
from engine.handover import salt_of
from engine.model import Diagnostic, Program, StackConfig, Step
from engine.passphrase import SecretsManager
from engine.planner import Planner
from engine.preview import in_order, preview
from engine.program import run_program
from engine.state import Resource, State, read_state
from engine.wire import blind

Listener = Callable[[Event], None]
_INTERRUPTED = 130


@dataclass(frozen=True)
class _Run:
    """What a run has in hand while it holds the lock."""

    state: State
    secrets: SecretsManager
    voice: Voice
    interrupt: Interrupt
    handlers: Handlers
    started: float


@contextlib.contextmanager
def _running(state: Path, root: Path, secrets: SecretsManager, listener: Listener) -> Iterator[_Run]:
    interrupt, started = Interrupt(), time.monotonic()
    with lock_state(state) as lock, interrupt.handling_signals():
        read_state(state)  # a damaged one is told as such
        checks.require_own_state(state)
        salt = salt_of(json.loads(state.read_text(encoding="utf-8"))) if state.exists() else ""
        own = secrets.with_salt(salt or secrets.salt)
        handlers = Handlers(Surroundings(root, lock, interrupt))
        try:
            yield _Run(read_state(state, own.decrypt), own, Voice(listener), interrupt, handlers, started)
        finally:
            handlers.close()


def _silent(_: Event) -> None:
    """The listener of a caller that has none."""


def up(
    program: Program, config: StackConfig, state: Path, *, secrets: SecretsManager, parallel: int = 4, embedded: bool = False,
    refresh: bool = False, on_event: Listener = _silent,
) -> Result:  # fmt: skip
    """Makes the world as the program says, and records it in `state` after every step.

    `embedded` is the caller's word that the stack's cluster is the lab's own; the engine looks for its mark besides. `refresh` makes
    objects that are gone from the cluster anew. What fails is told in the result, with `ok` false.
    Raises EngineError before anything is done: another run, a damaged state, a wrong passphrase; RefusedError (exit code 2) for a
    stack that only the CLI may apply.
    """
    state = state.absolute()  # the program changes the folder
    with _running(state, program.root, secrets, on_event) as run:
        planned = preview(program, config, state if state.exists() else None, parallel)
        if not planned.ok:
            return Result({}, planned.outputs, planned.diagnostics, ok=False, steps=(), exit_code=1)
        checks.require_applicable((step.type for step in planned.steps if step.custom), embedded=embedded)
        checks.require_mark(checks.providers_of(planned.steps), run.interrupt, program.root)
        run.voice.learn(value for key, value in config.values.items() if key in config.secret_keys)
        planner = Planner(program.project, program.stack, config.values, run.state, new_id=lambda: str(uuid.uuid4()))
        ledger = Ledger(state, run.state, run.secrets, planner.aliases)
        sweeper = Sweeper(ledger, run.handlers, run.voice, run.interrupt)
        applier = Applier(planner, ledger, run.handlers, sweeper, run.interrupt)
        applier.limit(parallel)
        if refresh:
            applier.look_first(run.state)
        monitor = ApplyMonitor(planner, applier, ledger)
        for urn in run.state.interrupted:
            monitor.report("warning", f"an earlier run was interrupted while it worked on {urns.name_of(urn)}: taken up again", urn)
        run_program(program, config, monitor, parallel, dry_run=False)
        steps = in_order([decision.step({}) for decision in applier.done])
        if not monitor.failed and not run.interrupt.stopped:
            _prune(planner, ledger, sweeper, parallel, lambda urn, error: monitor.fail(str(error), urn))
            steps += [_delete_step(item) for item in sweeper.deleted if not item.get("delete")]
        ledger.flush()
        return _result(run, steps, planner.diagnostics, monitor)


def _prune(planner: Planner, ledger: Ledger, sweeper: Sweeper, parallel: int, failed: Callable[[str, EngineError], None]) -> None:
    """Deletes what was replaced and what left the program."""
    gone = {item["urn"] for item in planner.gone()}
    if planner.refused:
        failed("", EngineError("nothing was deleted, because something protected would be"))
        return
    left = [item for item in ledger.records() if not ledger.has(item["urn"]) or item.get("delete")]
    doomed = [item for item in left if item.get("delete") or item["urn"] in gone or urns.is_default_provider(item["urn"])]
    sweeper.sweep(doomed, _unsure(ledger), parallel, failed)


def _unsure(ledger: Ledger) -> list[Resource]:
    """Creations that a killed run began, of resources that are not in the state now."""
    known = {item["urn"] for item in ledger.records() if item["type"] == "command:local:Command"}
    pending = [item.resource for item in ledger.pending() if item.operation == "creating"]
    return [item for item in pending if item["urn"] not in known]


def down(
    state: Path, root: Path, *, secrets: SecretsManager, parallel: int = 4, embedded: bool = False, on_event: Listener = _silent
) -> Result:  # fmt: skip
    """Deletes everything that the state names, dependants first; what goes with its host (`deleted_with`) is not asked for one by one.

    `root` is the folder that Commands run in. Raises as `up` does; what fails is told in the result.
    """
    state = state.absolute()  # the program changes the folder
    with _running(state, root, secrets, on_event) as run:
        ledger = Ledger(state, run.state, run.secrets)
        diagnostics: list[Diagnostic] = []
        records = [item for item in ledger.records() if not item.get("external")]
        protected = [item for item in records if item.get("protect")]
        if protected:
            listed = ", ".join(urns.name_of(item["urn"]) for item in protected)
            raise EngineError(f"protected and not to be deleted: {listed}", remedy="set protect=False in the program and run up first")
        checks.require_applicable((item["type"] for item in records if item["custom"]), embedded=embedded)
        names = {item["urn"] for item in records}
        alone = [item for item in records if is_object(item["type"]) and item.get("deletedWith") not in names]
        used = {item.get("provider", "").rpartition("::")[2] for item in alone}
        checks.require_mark([item.get("inputs", {}) for item in records if item.get("id") in used], run.interrupt, root)
        sweeper = Sweeper(ledger, run.handlers, run.voice, run.interrupt)
        sweeper.sweep(records, _unsure(ledger), parallel, lambda urn, error: diagnostics.append(Diagnostic("error", str(error), urn)))
        ledger.flush()
        steps = [_delete_step(item) for item in sweeper.deleted]
        return _result(run, steps, diagnostics, None)


def _delete_step(record: Resource) -> Step:
    return Step("delete", record["urn"], old=blind(record))


def _result(run: _Run, steps: list[Step], diagnostics: list[Diagnostic], monitor: ApplyMonitor | None) -> Result:
    run.voice.learn(text for item in run.state.records for text in secret_texts(item))
    said = tuple(Diagnostic(item.severity, run.voice.blind(item.message), item.urn) for item in diagnostics)
    failed = (monitor is not None and monitor.failed) or any(item.severity == "error" for item in said)
    code = _INTERRUPTED if run.interrupt.stopped else max(monitor.exit_code if monitor else 0, 1) if failed else 0
    shown = tuple(step for step in steps if not urns.is_default_provider(step.urn))
    return Result(
        summary=dict(sorted(Counter(step.op for step in shown).items())), outputs=monitor.outputs if monitor else {}, diagnostics=said,
        ok=code == 0, steps=shown, interrupted=run.interrupt.stopped, exit_code=code, duration=time.monotonic() - run.started,
    )  # fmt: skip
