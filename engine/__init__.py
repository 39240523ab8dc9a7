"""The embedded engine: runs the lab's Pulumi program in this process, without the Pulumi CLI and its plugins.

It is a fallback for machines that cannot get the CLI, and does less: what it cannot do as Pulumi does, it refuses by name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError, RefusedError, UnsupportedError
from engine.model import Diagnostic, Preview, Program, StackConfig, Step
from engine.preview import preview
from engine.wire import UNKNOWN

if TYPE_CHECKING:
    from engine.apply.events import Event, Result
    from engine.apply.lock import lock_state
    from engine.apply.run import down, up
    from engine.handover import export, mark_handed_over
    from engine.passphrase import SecretsManager

# A preview needs no HTTP client and no cryptography, and does not wait for their import.
_LATER = {
    "Event": "engine.apply.events",
    "Result": "engine.apply.events",
    "SecretsManager": "engine.passphrase",
    "down": "engine.apply.run",
    "export": "engine.handover",
    "lock_state": "engine.apply.lock",
    "mark_handed_over": "engine.handover",
    "up": "engine.apply.run",
}

__all__ = [
    "UNKNOWN",
    "Diagnostic",
    "EngineError",
    "Event",
    "Preview",
    "Program",
    "RefusedError",
    "Result",
    "SecretsManager",
    "StackConfig",
    "Step",
    "UnsupportedError",
    "down",
    "export",
    "lock_state",
    "mark_handed_over",
    "preview",
    "up",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(importlib.import_module(_LATER[name]), name)
