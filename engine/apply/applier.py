"""Carries out what the planner decides, resource by resource, while the program runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from engine import urns
from engine.apply.events import Talk
from engine.apply.handler import Made
from engine.apply.handlers import Handlers, is_object, task_of
from engine.apply.interrupt import Interrupt, InterruptedRunError
from engine.apply.ledger import Ledger, now
from engine.apply.sweep import Sweeper
from engine.decision import Decision, is_listed
from engine.errors import EngineError
from engine.goals import Goal
from engine.planner import Planned, Planner
from engine.state import Resource, State
from engine.wire import Secret, has_unknown

_KEPT: Final = ("created", "modified")


class SkippedError(EngineError):
    """The resource is not worked on, because something before it failed or the run is to end; that has been told already."""


class Applier:
    """Registrations come from several threads; no more than `parallel` of them work at a time, and none waits for another."""

    def __init__(self, planner: Planner, ledger: Ledger, handlers: Handlers, sweeper: Sweeper, interrupt: Interrupt) -> None:
        self._planner, self._ledger, self._handlers, self._sweeper = planner, ledger, handlers, sweeper
        self._voice, self._interrupt = sweeper.voice, interrupt
        self._lock = threading.RLock()
        self._slots = threading.BoundedSemaphore()
        self._broken: set[str] = set()
        self._deleted: set[str] = set()  # recorded URNs that this run deleted ahead of their replacements
        self._gone: Callable[[Resource], bool] = lambda _: False
        self.stopped = False
        self.done: list[Decision] = []

    def limit(self, parallel: int) -> None:
        """Sets how many steps run at a time."""
        self._slots = threading.BoundedSemaphore(max(parallel, 1))

    def look_first(self, state: State) -> None:
        """Looks for each object of the state before it is planned; one that is gone is made anew."""

        def is_gone(record: Resource) -> bool:
            provider = self._sweeper.provider(record)
            if not is_object(record["type"]) or provider is None:
                return False
            talk = Talk(self._voice, record["urn"], "refresh")
            if self._handlers.of(record["type"]).exists(task_of(record, provider, talk, "read"), record):
                return False
            talk.say("note", "is gone from the cluster: made anew")
            with self._lock:
                state.resources.pop(record["urn"], None)
                self._ledger.forget(record)
            return True

        self._gone = is_gone

    def register(self, goal: Goal) -> Planned:
        """Plans and carries out one resource. Raises EngineError where it fails; everything that stands on it is skipped then."""
        urn = self._planner.urn(goal.type, goal.name, goal.parent)
        try:
            self._refuse_blocked(goal)
            recorded = self._ledger.find(urn)
            if recorded is not None:
                self._gone(recorded)
            with self._lock:
                first = len(self._planner.decisions)
                planned = self._planner.register(goal)
                if self._planner.refused:  # a protected resource would be replaced
                    raise SkippedError("refused")  # the planner has told it
                *providers, decision = self._planner.decisions[first:]
                for item in (*providers, decision):
                    if not item.goal.custom or urns.is_provider(item.goal.type):
                        self._settle(item)
            if not goal.custom or urns.is_provider(goal.type):
                return Planned(planned.urn, decision.provider_id, planned.outputs)
            return self._work(decision)
        except EngineError:
            with self._lock:
                self._broken.add(urn)
                self.stopped = True
            raise

    def _refuse_blocked(self, goal: Goal) -> None:
        needs = {*goal.dependencies, goal.parent, goal.deleted_with, urns.reference_urn(goal.provider) if goal.provider else ""}
        with self._lock:
            blocked = self.stopped or bool(needs & self._broken)
        if blocked or self._interrupt.stopped or has_unknown(goal.inputs):
            raise SkippedError("skipped")

    def _settle(self, decision: Decision) -> None:
        """Records a component or a provider, which have nothing outside the state."""
        outputs = {k: v for k, v in decision.record.get("inputs", {}).items() if k != "__internal"} if decision.goal.custom else None
        if outputs is None:
            outputs = (decision.old or {}).get("outputs") or {}
        self._record(decision, Made(decision.provider_id, outputs))

    def _work(self, decision: Decision) -> Planned:
        if decision.op == "same" and decision.old:
            made = Made(str(decision.old["id"]), decision.old.get("outputs", {}))
            self._record(decision, made)
            return Planned(decision.urn, made.id, made.outputs)
        talk = Talk(self._voice, decision.urn, decision.op)
        with self._slots:
            try:
                self._refuse_blocked(decision.goal)
                talk.say("started")
                made = self._carry_out(decision, talk)
            except SkippedError:
                raise
            except InterruptedRunError:  # what was begun stays noted as begun
                talk.say("failed", "interrupted")
                raise
            except EngineError as error:
                self._ledger.cancel(decision.urn)
                if decision.op == "update" and decision.old and decision.change.forced:
                    # Its inputs show no difference: only this makes the next run try again.
                    self._ledger.done({**decision.old, "urn": decision.urn, "initErrors": [self._voice.blind(str(error))]}, decision.old)
                talk.say("failed", str(error))
                raise
            self._record(decision, made)
            if made.trouble:
                talk.say("failed", str(made.trouble))
                raise made.trouble
            talk.say("done")
        return Planned(decision.urn, made.id, made.outputs)

    def _carry_out(self, decision: Decision, talk: Talk) -> Made:
        handler = self._handlers.of(decision.goal.type)
        operation = "update" if decision.op == "update" else "create"
        pending = {str(item.resource["urn"]): item.resource for item in self._ledger.pending() if item.operation == "creating"}
        hint = pending.get(decision.urn, {}).get("outputs", {})
        task = task_of(decision.record, {"inputs": decision.options}, talk, operation, hint)
        if decision.op == "update" and decision.old:
            self._ledger.begin("updating", {**decision.record, "id": decision.old["id"]})
            made = handler.update(task, decision.old)
        else:
            if decision.op == "replace" and decision.old and decision.delete_first:
                self._delete_first([*decision.condemned[::-1], decision.old])
            noted = handler.prepare(task)
            self._ledger.begin("creating", {**decision.record, **({"outputs": noted} if noted else {})})
            made = handler.create(task, noted)
        extra = {key: _secret(made.outputs[key]) for key in decision.goal.additional_secret_outputs if key in made.outputs}
        return Made(made.id, {**made.outputs, **extra}, made.trouble)

    def _delete_first(self, records: list[Resource]) -> None:
        for record in records:
            with self._lock:
                is_first = record["urn"] not in self._deleted and not record.get("pendingReplacement")
                self._deleted.add(record["urn"])
            if is_first and not urns.is_provider(record["type"]):
                self._ledger.begin("deleting", record)
                try:
                    self._sweeper.delete(record)
                except InterruptedRunError:
                    raise
                except EngineError:
                    self._ledger.cancel(record["urn"])
                    raise
                self._ledger.deleted_first(record)

    def _record(self, decision: Decision, made: Made) -> None:
        old, changed = decision.old, decision.op != "same"
        times = {"created": now(), "modified": now()}
        if old and decision.op != "replace":
            times |= {key: old[key] for key in _KEPT if key in old and (key == "created" or not changed)}
        record: dict[str, Any] = {
            **decision.record, **({"id": made.id} if made.id else {}), **({"outputs": made.outputs} if made.outputs else {}), **times,
            **({"initErrors": [self._voice.blind(str(made.trouble))]} if made.trouble else {}),
        }  # fmt: skip
        keep_old = decision.op == "replace" and not decision.delete_first
        self._ledger.done(record, old, keep_old=keep_old)
        with self._lock:
            if is_listed(decision):
                self.done.append(decision)


def _secret(value: object) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)
