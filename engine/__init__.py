"""The embedded engine: runs the lab's Pulumi program in this process, without the Pulumi CLI and its plugins.

It is a fallback for machines that cannot get the CLI, and does less: what it cannot do as Pulumi does, it refuses by name.
"""

from engine.apply.events import Event, Result
from engine.apply.run import down, up
from engine.errors import EngineError, RefusedError, UnsupportedError
from engine.handover import export, mark_handed_over
from engine.model import Diagnostic, Preview, Program, StackConfig, Step
from engine.passphrase import SecretsManager
from engine.preview import preview
from engine.wire import UNKNOWN

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
    "mark_handed_over",
    "preview",
    "up",
]
