"""What the commands that touch a machine have in common: the stack, its plan, the CLI that applies it, and one run at a
time.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.load import load_plan
from host.drivers import optional, ownership, refuse_early
from host.system import files
from host.system.state import check_owner, folder
from stacks.errors import HostError, LabError
from stacks.plan import Plan, canonical
from stacks.planning.clusters import deployable
from stacks.settings import PROJECT
from stacks.settings.stack_file import StackConfig, stack_names

if TYPE_CHECKING:
    from cli.pulumi.workspace import Workspace
    from host.artifacts.pulumi import Pulumi
    from probes.gateway import GatewayAccess

CACHE = Path("~/.cache/local-ai-lab")


@dataclass(frozen=True)
class Deployed:
    """One stack on this machine."""

    root: Path
    stack: str
    config: StackConfig
    plan: Plan

    @property
    def stands(self) -> bool:
        """Whether this machine remembers a cluster, or containers, that the stack made or began to make."""
        if look := optional(self.plan.cluster.driver, "stands"):
            return bool(look(self.stack))
        mark = ownership.read(ownership.mark_file(self.plan.cluster.driver, self.plan.cluster.name))
        return mark is not None and mark.owner.stack == self.stack

    @property
    def cluster_needs_root(self) -> bool:
        """Whether its cluster is root's."""
        return any(change.root for change in self.plan.host_changes if change.kind == "cluster")

    @property
    def prepares(self) -> bool:
        """Whether what it takes can be fetched and built before Pulumi runs."""
        return optional(self.plan.cluster.driver, "prepare") is not None

    @property
    def plugins(self) -> dict[str, str]:
        """The plugins that the program needs, name -> version."""
        return plugins(self.plan)

    @property
    def network_policies(self) -> str:
        """What the plan says of NetworkPolicies, as a line; empty where there is nothing to say."""
        said = next((d for d in self.plan.decisions if d.name == "cluster.networkPolicy"), None)
        return f"NetworkPolicies: {said.value} ({said.reason})" if said else ""

    @property
    def folder(self) -> Path:
        """The stack's host state on this machine."""
        return folder(self.stack)

    def require_deployable(self) -> None:
        """Raises LabError (exit code 2) where this version makes no clusters of the stack's driver, or this user cannot
        have one.
        """
        driver = self.plan.cluster.driver
        if not deployable(driver):
            raise LabError(
                not_implemented(driver),
                remedy=f"./lab plan {self.stack} and ./lab preview {self.stack} show what it would do",
                exit_code=2,
            )
        try:
            refuse_early(driver, self.stack)
        except HostError as refused:
            refused.exit_code = 2
            raise

    def recorded(self) -> bool:
        """Whether Pulumi's backend may know the stack; True for a remote backend, which only the CLI can ask."""
        from cli.pulumi.backend import state_file

        file = state_file(self.root, self.stack)
        return file is None or file.exists()

    def workspace(self, pulumi: Pulumi) -> Workspace:
        """The stack for that CLI."""
        from cli.pulumi.workspace import Workspace

        return Workspace(self.root, self.stack, pulumi, self.folder / "tmp")

    def driver_command(self, verb: str) -> tuple[list[str], dict[str, str]]:
        """The words and the environment of a verb of the stack's driver, as its Command in the program has them, but
        no secret.
        """
        plan, (word, spec) = self.plan, driver_spec(self.plan)
        told = {"LAB_STACK": plan.stack, "LAB_SPEC": spec, "PYTHONPATH": str(self.root)}
        return [sys.executable, "-m", "host", word, verb], told

    def gateway_access(self) -> GatewayAccess:
        """The stack's gateway. Raises LabError where it has none."""
        from probes.gateway import GatewayAccess

        if self.plan.gateway is None:
            raise LabError(
                f"stack {self.stack} has no gateway: each model has a port of its own",
                remedy=f"write gateway: {{kind: envoy}} into Pulumi.{self.stack}.yaml, then ./lab up {self.stack}",
            )
        return GatewayAccess(self.folder / "gateway", self.stack)

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
    """The stack by name. Raises LabError (exit code 2) where none is named, with what fits this machine, and where the
    stack of this machine belongs to another checkout.
    """
    if stack is None:
        raise _unnamed(root)
    config, plan = load_plan(root, stack)
    try:
        check_owner(stack, root)
    except HostError as error:
        error.exit_code = 2
        raise
    return Deployed(root, stack, config, plan)


def not_implemented(driver: str) -> str:
    """What plan, up, check and status say alike of a driver that cannot be deployed yet."""
    return (
        f"driver {driver} is not implemented in this version: stacks with it are planned and previewed, and not "
        f"deployed"
    )


def driver_spec(plan: Plan) -> tuple[str, str]:
    """The driver's word for `python -m host`, and what it is told as LAB_SPEC."""
    if plan.target == "kubernetes":
        return plan.cluster.driver, canonical(plan.cluster)
    from components.rendered import commands

    return plan.cluster.driver, commands(plan)["containers-ensure"].environment["LAB_SPEC"]


def plugins(plan: Plan) -> dict[str, str]:
    """Name -> version of the plugins of a plan's program."""
    from host.artifacts.pulumi_modules import COMMAND_VERSION

    kubernetes = {"kubernetes": plan.kubernetes.provider} if plan.target == "kubernetes" else {}
    return {"command": COMMAND_VERSION, **kubernetes}


def get_pulumi(plan: Plan) -> Pulumi:
    """The CLI with the plan's plugins, fetched now where it is missing. Raises HostError."""
    from host.artifacts.pulumi import get

    return get(CACHE.expanduser(), plugins(plan))


def _unnamed(root: Path) -> LabError:
    known = stack_names(root)
    gpu = shutil.which("nvidia-smi") or Path("/usr/lib/wsl/lib/nvidia-smi").exists()
    seen = "this machine has an NVIDIA driver" if gpu else "no NVIDIA driver was found here"
    fits = [n for n in known if _wants_gpu(root, n) == bool(gpu)] or known
    remedy = "type one of: " + ", ".join(f"./lab up {n}" for n in fits)
    return LabError(f"no stack was named; {seen}", remedy=remedy, exit_code=2)


def _wants_gpu(root: Path, stack: str) -> bool:
    try:
        return load_plan(root, stack)[1].machine.kind == "nvidia"
    except LabError:
        return False
