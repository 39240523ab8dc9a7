"""From what a machine is to the stack file that is proposed for it. Pure: nothing is looked up here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from stacks.catalog import Catalog
from stacks.errors import ProposalError
from stacks.found_machine import FoundMachine
from stacks.plan import Plan
from stacks.planning.build import try_plan
from stacks.planning.proposals.driver import DriverChoice, choose
from stacks.planning.proposals.facts import MachineFacts, disk, facts, more_for_wsl
from stacks.planning.proposals.model import Ask, Fit, fitting, one
from stacks.settings import Settings

_OWN_CACHE = "~/.local/share/local-ai-lab/models"
_ROOTLESS = frozenset({"minikube", "docker"})
"""Drivers that work without root: a folder below /var would need it."""

_MOST_OPTIONS = 3


@dataclass(frozen=True)
class Proposal:
    """A stack file that plans green: `config` as the file says it, `comments` by path. `notes` is what its owner should
    know, `before_up` what must be done before `up`; `options` are models that fit too, this one first.
    """

    stack: str
    config: Mapping[str, Any]
    comments: Mapping[str, str]
    plan: Plan
    driver: DriverChoice
    options: tuple[Ask, ...]
    notes: tuple[str, ...]
    before_up: tuple[str, ...]

    @property
    def settings(self) -> Settings:
        """What the file says, read."""
        return Settings.from_config(self.config)


def propose(
    found: FoundMachine,
    catalog: Catalog,
    *,
    stack: str,
    driver: str | None = None,
    model: str | None = None,
    cpu: bool = False,
    cluster: Mapping[str, Any] | None = None,
) -> Proposal:
    """The stack file for the machine, with the driver and the model that are wanted, where they are; `cluster` is what
    the file says of a cluster beside its driver. Raises ProposalError where the machine can carry none, CatalogError
    for a model that the catalogue does not know.
    """
    _check_driver_answers(found, cpu=cpu)
    kind = "cpu" if cpu or not found.cards else "nvidia"
    machine = facts(found, catalog, cpu=kind == "cpu")
    choice = choose(found, kind, driver)
    search = _Search(machine, choice.driver, stack, catalog, cluster=cluster or {})
    if model is not None:
        catalog.model(model)
    fits = search.fits(model, kind)
    if not fits and more_for_wsl(machine, found):
        fits = search.fits(model, kind)
    if not fits:
        raise ProposalError(
            "no model of the list fits this machine; the smallest is refused: " + "; ".join(search.refusals[:2]),
            remedy="./lab fit --gpu NAME --all says why of every model" if kind == "nvidia" else "use a larger machine",
        )
    return _finished(found, machine, choice, search, fits)


@dataclass
class _Search:
    """Plans stack files of one machine and driver, and remembers the last refusals."""

    machine: MachineFacts
    driver: str
    stack: str
    catalog: Catalog
    refusals: tuple[str, ...] = ()
    cluster: Mapping[str, Any] = field(default_factory=dict)

    def config(self, ask: Ask, **machine: int) -> dict[str, Any]:
        document: dict[str, Any] = {
            "machine": {**self.machine.values, **machine},
            "cluster": {"driver": self.driver, **self.cluster},
        }
        if self.driver in _ROOTLESS:
            document["modelCache"] = {"path": _OWN_CACHE}
        document["models"] = [
            {
                "name": _name(ask.model),
                "model": ask.model,
                "contextTokens": ask.context,
                "concurrentRequests": ask.requests,
                **({"replicas": ask.replicas} if ask.replicas > 1 else {}),
            }
        ]
        return document

    def fits(self, model: str | None, kind: str) -> list[Fit]:
        """The best ways to serve what is wanted, or what the machine can serve."""
        gpus = self.machine.values.get("gpus", 1)
        if model is None:
            return list(islice(fitting(self.attempt, self.catalog, kind, gpus=gpus), _MOST_OPTIONS))
        fit = one(self.attempt, model, kind, gpus=gpus)
        return [fit] if fit else []

    def attempt(self, ask: Ask, **machine: int) -> Plan | None:
        settings = Settings.from_config(self.config(ask, **machine))
        plan, refusals = try_plan(settings, stack=self.stack, catalog=self.catalog)
        self.refusals = tuple(refusals) or self.refusals
        return plan


def _finished(
    found: FoundMachine, machine: MachineFacts, choice: DriverChoice, search: _Search, fits: list[Fit]
) -> Proposal:
    best, sizes, plan = fits[0], disk(found), fits[0].plan
    if sizes:
        if (checked := search.attempt(best.ask, **sizes)) is None:
            need = next(b.need for b in plan.budgets if b.name == "disk")
            machine.before_up.append(
                f"free disk: {sizes['diskFreeGiB']} GiB are free where images and models go, and {need:.0f} GiB are "
                "needed; then write machine.diskFreeGiB"
            )
            sizes = {}
        plan = checked or plan
    if idle := sum(not card.shares for card in plan.cards):
        machine.notes.append(
            f"{idle} of {len(plan.cards)} cards stay idle: the model needs no more, and driver {choice.driver} runs "
            "one engine of it; add a second model"
        )
    comments = {f"machine.{key}": text for key, text in machine.comments.items()}
    comments |= {
        "machine.diskFreeGiB": "GiB free where images and models go",
        "machine.diskTotalGiB": "size of that disk: a kubelet evicts pods when too small a part of it is free",
        "cluster.driver": choice.reason + (f"; or: {', '.join(choice.others)}" if choice.others else ""),
        "cluster.context": "as `kubectl config get-contexts` prints it",
        "cluster.nodeSelector": "the nodes that engines may run on",
        "modelCache.path": "where weights are kept; they survive the cluster",
        "models[0].name": "what clients send as `model`",
        "models[0].model": "./lab models lists the others" + _also(fits),
        "models[0].contextTokens": "the longest prompt plus answer",
        "models[0].concurrentRequests": _held_words(plan),
        "models[0].replicas": "one engine for each card",
    }
    return Proposal(
        stack=search.stack,
        config=search.config(best.ask, **sizes),
        comments=comments,
        plan=plan,
        driver=choice,
        options=tuple(fit.ask for fit in fits),
        notes=tuple(machine.notes),
        before_up=tuple(machine.before_up),
    )


def _check_driver_answers(found: FoundMachine, *, cpu: bool) -> None:
    if found.cards or cpu:
        return
    if found.silent:
        raise ProposalError(
            f"nvidia-smi lists no card: {found.silent}",
            remedy="./lab doctor says why; without the card: ./lab init --cpu",
        )
    if found.nvidia_device:
        raise ProposalError(
            "the machine has an NVIDIA card, and no driver for it",
            remedy="./lab doctor says how to get one; without the card: ./lab init --cpu",
        )


def _name(model: str) -> str:
    """A name for the deployment: the model's id as a DNS label."""
    return "".join(c if c.isalnum() else "-" for c in model)[:40].strip("-")


def _also(fits: list[Fit]) -> str:
    names = ", ".join(fit.ask.model for fit in fits[1:])
    return f"; these fit too: {names}" if names else ""


def _held_words(plan: Plan) -> str:
    held = plan.models[0].memory.concurrency
    return f"requests worked on at once; {held:.1f} of full length are held, shorter ones all"
