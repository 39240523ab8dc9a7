"""What `lab doctor --fix` may mend: steps that lose nothing, each one asked for before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cli.doctor.examination import Case
from host.system import command
from stacks.plan import HostChange, NvidiaHostPlan, canonical
from stacks.planning.gpus.host import host_changes

_NVIDIA = frozenset({"toolkit", "runtime", "cdi", "device-links"})
_SECONDS = 120.0
_INSTALL_SECONDS = 1800.0  # packages of the toolkit from a slow mirror


@dataclass(frozen=True)
class Step:
    """One step: what it does in words, whether it needs root, and the function that does it."""

    what: str
    root: bool
    do: Callable[[], object]


def steps(case: Case) -> list[Step]:
    """The steps for the layers of the report that can be mended without losing anything."""
    found = []
    broken = {layer.id: layer for layer in case.report.layers if layer.state in ("warn", "fail")}
    signatures = {layer.signature for layer in broken.values()}
    if "docker-stopped" in signatures:
        found.append(Step("start the Docker daemon: systemctl start docker", True, _start_docker))
    plan = case.subject.plan
    host = plan.nvidia.host if plan and plan.nvidia else None
    if plan and host and _NVIDIA & set(broken):
        said = "; ".join(change.what for change in _changes(host))
        found.append(Step(f"NVIDIA's layers, as `up` does: {said}", True, lambda: _nvidia(case.root, plan.stack, host)))
    if "pulumi-lock" in signatures and case.report.stack:
        stack = case.report.stack
        found.append(Step("remove the lock of the killed run: pulumi cancel", False, lambda: _unlock(case, stack)))
    return found


def _changes(host: NvidiaHostPlan) -> list[HostChange]:
    return host_changes(host)


def _start_docker() -> None:
    command.run(["systemctl", "start", "docker"], timeout=_SECONDS, root=True)


def _nvidia(root: Path, stack: str, host: NvidiaHostPlan) -> None:
    environment = {"LAB_STACK": stack, "LAB_SPEC": canonical(host)}
    words = [sys.executable, "-m", "host", "nvidia", "ensure"]
    command.run(words, cwd=root, environment=environment, timeout=_INSTALL_SECONDS)


def _unlock(case: Case, stack: str) -> None:
    from cli.deployed import get_pulumi
    from cli.pulumi.workspace import Workspace
    from host.system.state import folder

    plan = case.subject.plan
    if plan is not None:
        workspace = Workspace(case.root, stack, get_pulumi(plan), folder(stack) / "tmp")
        workspace.call("cancel", "--yes", "--stack", stack)
