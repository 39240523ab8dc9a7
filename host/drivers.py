"""Which module is behind each driver word of `python -m host`. The words stand in Pulumi's state and are frozen."""

from __future__ import annotations

from typing import Final

DRIVERS: Final[dict[str, str | None]] = {
    "embedded": "host.embedded",
    "minikube": None,
    "nvidia": None,
    "models": "host.models",
}
"""driver -> module with ensure, status and destroy, each of which takes the environment; None: not implemented in this
version.

A module may have `is_alive(stack)`: what it takes beside an API server that answers; see host/epoch.py.
"""


def deployable(driver: str) -> bool:
    """Whether this version makes clusters of that driver; plans and previews are made for every one."""
    return DRIVERS.get(driver) is not None
