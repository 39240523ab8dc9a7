"""Which model a machine gets, with which context: the planner is the judge of what fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stacks.catalog import Catalog
from stacks.catalog.proposals import Proposals, Room, load
from stacks.plan import Plan


@dataclass(frozen=True)
class Ask:
    """What a plan is tried with."""

    model: str
    context: int
    requests: int
    replicas: int = 1


@dataclass(frozen=True)
class Fit:
    """What was asked, and the plan that takes it."""

    ask: Ask
    plan: Plan


Try = Callable[[Ask], Plan | None]


def fitting(attempt: Try, catalog: Catalog, kind: str, *, gpus: int = 1) -> Iterator[Fit]:
    """The models that fit, the proposal first: comfortable ones that answer well, then tight ones, then small ones.
    Each model comes once.
    """
    known, seen = load(), set[str]()
    for room, models in _rounds(known, catalog, kind):
        for model in models:
            if model not in seen and (fit := _roomy(attempt, model, room, known)):
                seen.add(model)
                yield _grown(attempt, fit, known, gpus)


def one(attempt: Try, model: str, kind: str, *, gpus: int = 1) -> Fit | None:
    """The most comfortable way to serve one model, however slow it is; None where the planner takes none."""
    known = load()
    for room in (known.comfortable, known.tight) if kind == "nvidia" else (known.processors,):
        if fit := _roomy(attempt, model, room, known, slow=True):
            return _grown(attempt, fit, known, gpus)
    return None


def _rounds(known: Proposals, catalog: Catalog, kind: str) -> list[tuple[Room, tuple[str, ...]]]:
    if kind == "cpu":
        return [(known.processors, known.cpu)]
    least = known.least_parameters_b.value * 1e9
    good = tuple(name for name in known.gpu if catalog.model(name).parameter_count >= least)
    return [(known.comfortable, good), (known.tight, good), (known.comfortable, known.gpu), (known.tight, known.gpu)]


def _roomy(attempt: Try, model: str, room: Room, known: Proposals, *, slow: bool = False) -> Fit | None:
    """The longest context of `room` with which the plan works, fast enough and with as many requests held."""
    if attempt(Ask(model, room.contexts[-1], room.requests)) is None:
        return None  # then no longer one does
    for context in room.contexts:
        ask = Ask(model, context, room.requests)
        plan = attempt(ask)
        if plan is None:
            continue
        (engine,) = plan.models
        least = 0.0 if slow else known.least_tokens_per_second.value
        fast = engine.estimate is None or engine.estimate.single_tokens_per_second >= least
        if engine.memory.concurrency >= room.held and fast:
            return Fit(ask, plan)
    return None


def _grown(attempt: Try, fit: Fit, known: Proposals, gpus: int) -> Fit:
    """More requests where all of them are held at full length, and an engine on every card."""
    for requests in known.more_requests:
        ask = Ask(fit.ask.model, fit.ask.context, requests)
        plan = attempt(ask) if fit.plan.models[0].memory.concurrency >= requests else None
        if plan and plan.models[0].memory.concurrency >= requests:
            fit = Fit(ask, plan)
            break
    replicas = gpus // max(1, fit.plan.models[0].resources.gpus)
    if replicas > 1:
        ask = Ask(fit.ask.model, fit.ask.context, fit.ask.requests, replicas)
        if plan := attempt(ask):
            return Fit(ask, plan)
    return fit
