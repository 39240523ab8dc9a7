"""Every check in order: all are run, and none raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from probes.diagnosis.problem import clean
from probes.doctor import cards, disk, docker, host, kubernetes, ports
from probes.doctor.subject import Subject
from probes.nvidia import Layer

Check = Callable[[Subject], Layer]

MACHINE: Final[Mapping[str, Check]] = {
    "system": host.system,
    "processors": host.processors,
    "memory": host.memory,
    "disk": disk.disk,
    "cgroups": host.cgroups,
    "systemd": host.systemd,
    "root": host.root,
    "docker": docker.docker,
    "card-memory": cards.card_memory,
    "ports": ports.ports,
}
"""The machine, by layer."""

CLUSTER: Final[Mapping[str, Check]] = {
    "kubectl": kubernetes.kubectl,
    "cluster": kubernetes.cluster,
    "node": kubernetes.node,
    "helm": kubernetes.helm,
    "operators": kubernetes.operators,
}
"""The cluster of a stack, by layer."""


def examine(checks: Mapping[str, Check], subject: Subject) -> tuple[Layer, ...]:
    """The layers of all checks; one that cannot be looked at is skipped and says why."""
    return tuple(_one(name, check, subject) for name, check in checks.items())


def _one(name: str, check: Check, subject: Subject) -> Layer:
    try:
        return check(subject)
    except Exception as error:  # noqa: BLE001  (whatever a broken machine makes a program say: the next layer counts too)
        return Layer(name, "skipped", f"cannot be looked at: {clean(str(error)) or type(error).__name__}")
