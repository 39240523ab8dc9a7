"""Errors of the embedded engine: every one is a sentence for the user, never a traceback."""

from __future__ import annotations

from stacks.errors import LabError

INSTALL_CLI = "install the Pulumi CLI (https://www.pulumi.com/docs/install/) and run the same command again"


class EngineError(LabError):
    """The embedded engine cannot preview this: a broken input, a broken state file, or a resource that Pulumi would refuse too."""


class RefusedError(EngineError):
    """The embedded engine does not apply this stack: it works on clusters that carry the lab's own mark, and on Commands."""

    exit_code = 2

    def __init__(self, reason: str, remedy: str = INSTALL_CLI) -> None:
        super().__init__(reason, remedy=remedy)


class UnsupportedError(EngineError):
    """The program uses something that only the Pulumi CLI with its plugins can do; `feature` names it."""

    def __init__(self, feature: str) -> None:
        super().__init__(f"{feature}: not in the embedded engine", remedy=INSTALL_CLI)
        self.feature = feature
