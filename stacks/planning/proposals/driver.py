"""Which driver a machine gets: by what is installed there, and among those that this version deploys first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacks.errors import ProposalError
from stacks.found_machine import FoundMachine
from stacks.planning.clusters import deployable
from stacks.settings.cluster import DRIVER_SETTINGS

ALWAYS_ASKED: Final = frozenset({"existing"})
"""Drivers that are never chosen for somebody: a cluster that is there is its owner's."""


@dataclass(frozen=True)
class DriverChoice:
    """The driver, why it, and the others that carry the machine in the order of preference."""

    driver: str
    reason: str
    others: tuple[str, ...]


def choose(found: FoundMachine, kind: str, wanted: str | None = None) -> DriverChoice:
    """The driver of a machine of `kind` (nvidia or cpu), or the one that is wanted. Raises ProposalError where no
    driver carries it, and where the wanted one does not.
    """
    carrying = [name for name, settings in DRIVER_SETTINGS.items() if kind in settings.machines]
    if wanted is not None:
        if wanted not in carrying:
            raise ProposalError(
                f"driver {wanted} carries no machine of kind {kind}", remedy=f"use one of: {', '.join(carrying)}"
            )
        return DriverChoice(wanted, "chosen", tuple(n for n in carrying if n != wanted))
    ranked = [(name, why) for name, why in _preferred(found, kind) if name in carrying and name not in ALWAYS_ASKED]
    if not ranked:
        raise ProposalError(f"no driver carries a machine of kind {kind}", remedy="write the stack file by hand")
    ranked.sort(key=lambda pair: not deployable(pair[0]))  # stable: the preference stays inside each half
    (driver, reason), *rest = ranked
    others = [name for name, _ in rest] + [name for name in carrying if name in ALWAYS_ASKED]
    return DriverChoice(driver, reason, tuple(others))


def _preferred(found: FoundMachine, kind: str) -> list[tuple[str, str]]:
    """Every driver with its reason, the preferred first."""
    if kind == "cpu":
        return [
            ("embedded", "no GPU: Kubernetes of the lab's own, made with root rights"),
            ("docker", "containers without Kubernetes"),
            ("k3s", "a pinned K3s"),
            ("minikube", "a minikube profile"),
        ]
    k3s = ("k3s", "the K3s that is here, if the lab made it" if found.k3s else "a pinned K3s, made with root rights")
    minikube = ("minikube", "minikube is here" if found.minikube else "minikube on Docker")
    docker = ("docker", f"Docker {found.docker} is here" if found.docker else "containers without Kubernetes")
    if found.minikube:
        return [minikube, docker, k3s]
    if found.wsl:
        return [docker, minikube, k3s] if found.docker else [minikube, docker, k3s]
    if found.k3s:  # one that the lab did not make is refused
        return [docker, minikube, k3s]
    if not found.docker and found.root and found.systemd:
        return [k3s, docker, minikube]
    return [docker, k3s, minikube] if found.docker else [minikube, docker, k3s]
