"""What the commands that touch a machine have in common: the stack, its plan, the CLI that applies it, and one run at a
time.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.load import load_plan
from host import files
from host.drivers import deployable
from host.state import folder
from stacks.errors import LabError
from stacks.planning.plan import EmbeddedPlan, Plan
from stacks.settings import PROJECT
from stacks.stack_file import StackConfig, stack_names

if TYPE_CHECKING:
    from cli.pulumi.workspace import Workspace
    from host.artifacts.pulumi import Pulumi

CACHE = Path("~/.cache/local-ai-lab")


@dataclass(frozen=True)
class Deployed:
    """One stack on this machine."""

    root: Path
    stack: str
    config: StackConfig
    plan: Plan

    @property
    def embedded(self) -> bool:
        """Whether its cluster is one that the lab itself starts."""
        return isinstance(self.plan.cluster, EmbeddedPlan)

    @property
    def plugins(self) -> dict[str, str]:
        """The plugins that the program needs, name -> version."""
        return plugins(self.plan)

    @property
    def folder(self) -> Path:
        """The stack's host state on this machine."""
        return folder(self.stack)

    def require_deployable(self) -> None:
        """Raises LabError (exit code 2) where this version makes no clusters of the stack's driver."""
        driver = self.plan.cluster.driver
        if not deployable(driver):
            error = LabError(
                not_implemented(driver),
                remedy=f"./lab plan {self.stack} and ./lab preview {self.stack} show what it would do",
            )
            error.exit_code = 2
            raise error

    def recorded(self) -> bool:
        """Whether Pulumi's backend may know the stack; True for a remote backend, which only the CLI can ask."""
        from cli.pulumi.recovery import state_file

        file = state_file(self.root, self.stack)
        return file is None or file.exists()

    def workspace(self, pulumi: Pulumi) -> Workspace:
        """The stack for that CLI."""
        from cli.pulumi.workspace import Workspace

        return Workspace(self.root, self.stack, pulumi, self.folder / "tmp")

    def api_key(self) -> str | None:
        """The endpoint's key, decrypted by the CLI; None where the stack has none. Raises LabError."""
        if self.plan.auth != "apiKey":
            return None
        return (
            self.workspace(get_pulumi(self.plan))
            .call("config", "get", f"{PROJECT}:apiKey", "--stack", self.stack)
            .strip()
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other `lab` works on the stack meanwhile; what a killed run kept in its temporary folder is gone. Raises
        HostError.
        """
        with files.lock(self.folder / "lab.lock", what=f"stack {self.stack}", wait=False):
            # kubeconfigs with keys: Pulumi's provider leaves copies
            shutil.rmtree(self.folder / "tmp", ignore_errors=True)
            try:
                yield
            finally:
                shutil.rmtree(self.folder / "tmp", ignore_errors=True)


def deployed(root: Path, stack: str | None) -> Deployed:
    """The stack by name. Raises LabError (exit code 2) where none is named, with what fits this machine."""
    if stack is None:
        raise _unnamed(root)
    config, plan = load_plan(root, stack)
    return Deployed(root, stack, config, plan)


def not_implemented(driver: str) -> str:
    """What plan, up, check and status say alike of a driver that cannot be deployed yet."""
    return f"driver {driver} is not implemented in this version: stacks with it are planned and previewed, and not deployed"


def plugins(plan: Plan) -> dict[str, str]:
    """Name -> version of the plugins of a plan's program."""
    from host.artifacts.pulumi_modules import COMMAND_VERSION

    return {"command": COMMAND_VERSION, "kubernetes": plan.cluster.provider}


def get_pulumi(plan: Plan) -> Pulumi:
    """The CLI with the plan's plugins, fetched now where it is missing. Raises HostError."""
    from host.artifacts.pulumi import get

    return get(CACHE.expanduser(), plugins(plan))


def _unnamed(root: Path) -> LabError:
    known = stack_names(root)
    gpu = shutil.which("nvidia-smi") or Path("/usr/lib/wsl/lib/nvidia-smi").exists()
    seen = "this machine has an NVIDIA driver" if gpu else "no NVIDIA driver was found here"
    fits = [n for n in known if _wants_gpu(root, n) == bool(gpu)] or known
    error = LabError(f"no stack was named; {seen}", remedy="type one of: " + ", ".join(f"./lab up {n}" for n in fits))
    error.exit_code = 2
    return error


def _wants_gpu(root: Path, stack: str) -> bool:
    try:
        return load_plan(root, stack)[1].machine.kind == "nvidia"
    except LabError:
        return False
