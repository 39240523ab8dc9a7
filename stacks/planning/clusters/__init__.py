"""One file for each cluster driver: names, addresses, sizes, host changes and the exact command that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stacks.planning.clusters.docker import Docker
from stacks.planning.clusters.driver import ClusterDriver
from stacks.planning.clusters.embedded import Embedded
from stacks.planning.clusters.existing import Existing
from stacks.planning.clusters.k3s import K3s
from stacks.planning.clusters.minikube import Minikube

DRIVERS: Final[Mapping[str, ClusterDriver]] = {
    driver.name: driver for driver in (Embedded(), Minikube(), K3s(), Docker(), Existing())
}
"""Every driver by the word that stack files use."""


def deployable(driver: str) -> bool:
    """Whether this version makes clusters of that driver; plans and previews are made for every one."""
    return DRIVERS[driver].deployable
