"""Which module is behind each driver word of `python -m host`. The words stand in Pulumi's state and are frozen."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

DRIVERS: Final[dict[str, str | None]] = {
    "embedded": "host.drivers.embedded",
    "minikube": "host.drivers.minikube",
    "k3s": "host.drivers.k3s",
    "docker": "host.drivers.docker",
    "existing": "host.drivers.existing",
    "nvidia": "host.drivers.nvidia",
    "gateway": "host.gateway.kubernetes",
    "models": "host.artifacts.models",
}
"""driver -> module with ensure, status and destroy, each of which takes the environment; None: not implemented in this
version.

A module may also have:
`is_alive(stack)`      what it takes beside an API server that answers; see host/drivers/epoch.py.
`refuse_early(stack)`  raises HostError where this user can never have such a cluster.
`stands(stack)`        whether it left something on the machine that only it can remove; without it the mark of
                       ownership tells.
`prepare(stack, plan)` looks at the machine, and returns what fetches or builds the cluster's programs; a driver without
                       it leaves all of that to `ensure`.
`probe_seconds()`      how long the look before each run may take, where a second is too little.
`refuse_removal(stack, plan)`  raises HostError where removing the stack's objects by name would meet another's.
"""

FOREIGN: Final = frozenset({"existing"})
"""Drivers whose clusters are somebody else's: one that is another than recorded is never taken for the stack's own."""

WITHOUT_API_SERVER: Final = frozenset({"docker"})
"""Drivers that make no Kubernetes: their `is_alive` says all of it."""


def optional(driver: str, name: str) -> Callable[..., Any] | None:
    """The function `name` of the driver's module, None where it has none."""
    module = DRIVERS.get(driver)
    found: Callable[..., Any] | None = getattr(importlib.import_module(module), name, None) if module else None
    return found


def refuse_early(driver: str, stack: str) -> None:
    """What the driver's own `refuse_early` says, before anything is asked or made. Raises HostError."""
    if look := optional(driver, "refuse_early"):
        look(stack)
