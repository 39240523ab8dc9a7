"""The embedded engine: runs the lab's Pulumi program in this process, without the Pulumi CLI, plugins, network or cluster.

It is a fallback for machines that cannot get the CLI, and does less: what it cannot do as Pulumi does, it refuses by name.
"""

from engine.errors import EngineError, UnsupportedError
from engine.model import Diagnostic, Preview, Program, StackConfig, Step
from engine.preview import preview
from engine.wire import UNKNOWN

__all__ = ["UNKNOWN", "Diagnostic", "EngineError", "Preview", "Program", "StackConfig", "Step", "UnsupportedError", "preview"]
