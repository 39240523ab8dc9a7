"""`ensure`, `status` and `destroy` of K3s: what `python -m host k3s` calls."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from host.artifacts import releases
from host.drivers import ownership, specification
from host.drivers.epoch import recorded_uid
from host.drivers.k3s import converge, decide, teardown
from host.drivers.k3s.machine import MARK, Machine
from host.drivers.k3s.observe import Observed, look
from host.system import files, state
from host.system.progress import step
from stacks.errors import HostError
from stacks.plan import K3sPlan

ROOT = Path("/")
_CACHE = Path("~/.cache/local-ai-lab")
_PAGE = "https://github.com/k3s-io/k3s/releases"


def ensure(environment: Mapping[str, str]) -> None:
    """K3s runs as LAB_SPEC says afterwards; prints one JSON line of what was changed. Raises HostError."""
    machine = Machine.read(environment, ROOT)
    program = _program(machine)  # as the caller, whose cache it is
    if os.geteuid() != 0:
        state.folder(machine.stack).mkdir(parents=True, exist_ok=True)
        specification.as_root("k3s", "ensure", environment)
    with _alone(machine):
        try:
            converge.run(machine, program, int(environment.get("LAB_EPOCH", "0")))
        finally:
            machine.give_to_caller()
    _say({"cluster": machine.plan.name, "kubeconfig": machine.plan.kubeconfig, "changed": machine.changes})


def status(environment: Mapping[str, str]) -> None:
    """Prints what runs and what is wrong with it, as JSON; changes nothing."""
    machine = Machine.read(environment, ROOT)
    made = machine.mark_file.exists() or machine.at("/etc/rancher/k3s").exists()
    if os.geteuid() != 0 and made:  # both are for root's eyes only
        specification.as_root("k3s", "status", environment)
    found = releases.obtained("k3s", machine.plan.kubernetes, _CACHE.expanduser())
    seen = look(machine, _in(found) if found else None)
    summary, problems = _summary(seen, machine)
    _say({
        "cluster": machine.plan.name, "state": summary, "problems": problems, "node": machine.plan.node,
        "address": machine.plan.address, "kubeconfig": machine.plan.kubeconfig, "version": seen.version,
        "epoch": state.epoch(machine.stack),
    })  # fmt: skip


def destroy(environment: Mapping[str, str]) -> None:
    """Nothing of K3s is left afterwards; the model cache and the download stay. Raises HostError."""
    machine = Machine.read(environment, ROOT)
    if os.geteuid() != 0:
        specification.as_root("k3s", "destroy", environment)
    with _alone(machine):
        removed, kept = _remove(machine)
        machine.kubeconfig.unlink(missing_ok=True)
        # Another run that makes it anew must know whether there was one.
        uid = "" if specification.by_stack(environment) else recorded_uid(machine.stack) or ""
        state.record(machine.stack, state.epoch(machine.stack) + int(removed), uid)
        ownership.remove(machine.mark_file)
        machine.give_to_caller()
    _say({"cluster": machine.plan.name, "removed": removed, "kept": [str(_CACHE), *map(str, kept)]})


def prepare(stack: str, plan: K3sPlan) -> list[Callable[[], object]]:
    """What fetches K3s, as the caller, before anybody is asked for root. Raises HostError where this machine cannot
    have it.
    """
    machine = Machine(stack, plan, ROOT)
    if found := decide.early_refusal(look(machine, None), machine):
        raise HostError(f"{found.reason}: nothing was changed", remedy=found.remedy)
    return [lambda: _program(machine)]


def stands(stack: str) -> bool:
    """Whether a K3s of the stack was begun on this machine. Raises HostError where the mark cannot be read."""
    mark = ownership.read(ROOT / MARK.lstrip("/"))
    return mark is not None and mark.owner.stack == stack


def _remove(machine: Machine) -> tuple[bool, list[Path]]:
    """Whether there was something of this stack's to remove, and what stays of it. Raises HostError where it is
    another's.
    """
    seen = look(machine, None)
    if found := decide.foreign(seen, machine):
        raise HostError(f"{found.reason}: nothing was removed", remedy=found.remedy)
    if seen.mark is None:
        return False, []
    machine.mark(replace(seen.mark, removing=True))
    with step("removing K3s"):
        return True, teardown.remove(machine)


def _summary(seen: Observed, machine: Machine) -> tuple[str, dict[str, str]]:
    """The state in a word, and what the next `up` would do about it."""
    if found := decide.foreign(seen, machine):
        return "foreign", {"k3s": f"{found.reason}; {found.remedy}"}
    if seen.mark is None:
        return "absent", {}
    refused = decide.refusal(seen, machine)
    wanted = () if refused else decide.steps(seen, machine)
    problems = {"k3s": f"{refused.reason}; {refused.remedy}"} if refused else {}
    if wanted:
        problems["k3s"] = f"./lab up {machine.stack} would do: {', '.join(wanted)}"
    if seen.service != "active":
        return "stopped", problems
    if not seen.ready:
        problems["node"] = f"node {machine.plan.node} is not ready; sudo journalctl -u k3s says more"
    return ("degraded" if problems else "running"), problems


def _program(machine: Machine) -> Path:
    version = machine.plan.kubernetes
    found = releases.obtain("k3s", version, _CACHE.expanduser(), instead="and cannot be had here")
    if found is None:
        raise HostError(
            f"K3s {version} is needed, and is not in the cache",
            remedy=f"let this machine reach {_PAGE} (or set LAB_RELEASES_MIRROR); then: ./lab up {machine.stack}",
        )
    return _in(found)


def _in(folder: Path) -> Path:
    """The one program of the release's folder, whatever the architecture that its name has."""
    return next(iter(sorted(folder.glob("k3s*"))))


def _alone(machine: Machine) -> AbstractContextManager[None]:
    return files.lock(machine.at("/run/lock/local-ai-lab-k3s.lock"), what="the machine's K3s")


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
