"""Deletions: dependants first, side by side where they may, and not one by one where their host goes as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from engine import urns
from engine.apply import references
from engine.apply.events import Talk, Voice
from engine.apply.handlers import Handlers, task_of
from engine.apply.interrupt import Interrupt
from engine.apply.ledger import Ledger, is_record
from engine.errors import EngineError
from engine.state import Resource

Failure = Callable[[str, EngineError], None]


class Sweeper:
    """Deletes recorded resources and keeps the ledger in step; `deleted` are those that went."""

    def __init__(self, ledger: Ledger, handlers: Handlers, voice: Voice, interrupt: Interrupt) -> None:
        self._ledger, self._handlers, self.voice, self._interrupt = ledger, handlers, voice, interrupt
        self.deleted: list[Resource] = []

    def delete(self, record: Resource, *, unsure: bool = False) -> None:
        """Deletes one resource outside the state; raises EngineError. The ledger is the caller's."""
        talk = Talk(self.voice, record["urn"], "delete")
        talk.say("started")
        task = task_of(record, self.provider(record), talk, "delete")
        self._handlers.of(record["type"]).delete(task, record, unsure=unsure)
        talk.say("done")

    def sweep(self, records: Sequence[Resource], unsure: Sequence[Resource], parallel: int, failed: Failure) -> None:
        """Deletes all of them; after the first failure nothing new begins. `unsure` ones stand in the ledger as pending only."""
        names = {record["urn"] for record in [*records, *unsure]}
        shadows = [item for item in [*records, *unsure] if item.get("deletedWith") in names and not is_record(item)]
        idle = [item for item in records if is_record(item)]
        real = [item for item in [*records, *unsure] if not is_record(item) and not any(item is other for other in shadows)]
        doubtful = {id(item) for item in unsure}
        stands_on = references.closure([*self._ledger.records(), *unsure])
        left = list(real)
        self.deleted += self._ledger.remove([], idle)
        running: dict[Future[None], Resource] = {}
        stopped = False
        with ThreadPoolExecutor(max(parallel, 1)) as pool:
            while left or running:
                stopped = stopped or self._interrupt.stopped
                busy = [*left, *running.values()]
                free = [item for item in left if not any(item["urn"] in stands_on[other["urn"]] for other in busy if other is not item)]
                for item in [] if stopped else free[: max(parallel, 1) - len(running)]:
                    left = [other for other in left if other is not item]
                    running[pool.submit(self._delete_one, item, unsure=id(item) in doubtful)] = item
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    item = running.pop(future)
                    error = future.exception()
                    if isinstance(error, EngineError):
                        stopped = True
                        failed(item["urn"], error)
                    elif error:
                        raise error
                    else:
                        with_it = _with(item, shadows)
                        self.deleted += self._ledger.remove([item, *with_it], idle)
        if not left and not stopped:
            self.deleted += self._ledger.remove([item for item in shadows if item.get("deletedWith") not in {r["urn"] for r in real}], idle)

    def _delete_one(self, record: Resource, *, unsure: bool) -> None:
        talk_urn = record["urn"]
        if not unsure:
            self._ledger.begin("deleting", record)
        try:
            self.delete(record, unsure=unsure)
        except EngineError as error:
            if not unsure:
                self._ledger.cancel(talk_urn)
            self.voice.say(Talk(self.voice, talk_urn, "delete").event("failed", str(error)))
            raise

    def provider(self, record: Resource) -> Resource | None:
        """The recorded provider of a resource."""
        reference = str(record.get("provider", ""))
        return self._ledger.find(urns.reference_urn(reference), reference.rpartition("::")[2]) if reference else None


def _with(item: Resource, shadows: Sequence[Resource]) -> list[Resource]:
    """What went together with the item, and with that in turn."""
    found = [shadow for shadow in shadows if shadow.get("deletedWith") == item["urn"]]
    return found + [deeper for shadow in found if shadow["urn"] != item["urn"] for deeper in _with(shadow, shadows)]
