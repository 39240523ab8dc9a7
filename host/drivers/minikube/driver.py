"""`ensure`, `status` and `destroy` of a minikube profile: what `python -m host minikube` calls."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager

from host.drivers import ownership, specification
from host.drivers.epoch import recorded_uid
from host.drivers.minikube import decide, program
from host.drivers.minikube.converge import Converging, remove
from host.drivers.minikube.observe import Observed, look
from host.drivers.minikube.tools import Tools
from host.drivers.minikube.wanted import Wanted
from host.drivers.ownership import Owner
from host.system import files, state
from host.system.progress import step
from stacks.errors import HostError


def ensure(environment: Mapping[str, str]) -> None:
    """The profile of LAB_SPEC runs as it is planned afterwards; prints one JSON line of what was changed. Raises
    HostError.
    """
    wanted = Wanted.read(environment)
    refuse_early(wanted.stack)
    Tools(wanted, None).require_docker()
    tools = Tools(wanted, program.get(wanted.plan.version))
    with _alone(wanted):
        converging = Converging(wanted, tools, _ours(wanted))
        converging.run(int(environment.get("LAB_EPOCH", "0")))
    _say({"cluster": wanted.profile, "kubeconfig": wanted.plan.kubeconfig, "changed": converging.changes})


def status(environment: Mapping[str, str]) -> None:
    """Prints what runs and what is wrong with it, as JSON; changes nothing of the profile."""
    wanted = Wanted.read(environment)
    refuse_early(wanted.stack)
    tools = Tools(wanted, program.find(wanted.plan.version))
    seen = look(wanted, tools)
    summary, problems = _summary(seen, wanted)
    _say({
        "cluster": wanted.profile, "state": summary, "problems": problems, "node": wanted.plan.node,
        "address": wanted.plan.address, "kubeconfig": wanted.plan.kubeconfig, "gpu": seen.sees_gpu,
        "container": seen.container.id[:12] if seen.container else None, "epoch": state.epoch(wanted.stack),
    })  # fmt: skip


def destroy(environment: Mapping[str, str]) -> None:
    """Nothing of the profile is left afterwards; minikube's downloads and the model cache stay. Raises HostError."""
    wanted = Wanted.read(environment)
    refuse_early(wanted.stack)
    with _alone(wanted):
        removed = _remove(wanted)
        wanted.kubeconfig.unlink(missing_ok=True)
        wanted.tool_kubeconfig.unlink(missing_ok=True)
        # Another run that makes it anew must know whether there was one.
        uid = "" if specification.by_stack(environment) else recorded_uid(wanted.stack) or ""
        state.record(wanted.stack, state.epoch(wanted.stack) + int(removed), uid)
        ownership.remove(ownership.mark_file(wanted.plan.driver, wanted.profile))
    _say({"cluster": wanted.profile, "removed": removed, "kept": [str(wanted.folder)]})


def refuse_early(stack: str) -> None:
    """Raises HostError where this user cannot have such a cluster: asked before anything else."""
    if os.geteuid() == 0:
        raise HostError(
            "minikube's Docker driver refuses root, and this is root",
            remedy=f"type it as your own user, who is in the group docker: ./lab up {stack}",
        )


def _remove(wanted: Wanted) -> bool:
    """Whether there was something of this stack's to remove. Raises HostError where it is not, or cannot be removed."""
    tools = Tools(wanted, program.find(wanted.plan.version))
    if not wanted.config.exists() and ownership.read(ownership.mark_file(wanted.plan.driver, wanted.profile)) is None:
        return False  # nobody need ask Docker, which may be gone by now
    tools.require_docker()
    seen = look(wanted, tools)
    if refusal := decide.foreign(seen, wanted, _ours(wanted)):
        raise HostError(f"{refusal.reason}: nothing was removed", remedy=refusal.remedy)
    if not seen.anything and not (seen.mark and seen.mark.removing):
        return False
    tools = Tools(wanted, program.get(wanted.plan.version))
    with step(f"removing profile {wanted.profile}"):
        remove(wanted, tools, _ours(wanted), seen)
    return True


def _summary(seen: Observed, wanted: Wanted) -> tuple[str, dict[str, str]]:
    """The state in a word, and what the next `up` would do about it."""
    action = decide.decide(seen, wanted, _ours(wanted))
    if not seen.anything:
        return "absent", {}
    if decide.foreign(seen, wanted, _ours(wanted)):
        return "foreign", {"profile": f"{action.reason}; {action.remedy}"}
    if action.kind == "keep":
        return "running", {}
    said = f"{action.reason}; {action.remedy}" if action.remedy else action.reason
    return ("degraded" if seen.state == "running" else seen.state), {"profile": said}


def _ours(wanted: Wanted) -> Owner:
    return ownership.this_stack(wanted.stack, wanted.plan.driver, wanted.profile)


def _alone(wanted: Wanted) -> AbstractContextManager[None]:
    path = ownership.mark_file(wanted.plan.driver, wanted.profile).with_suffix(".lock")
    return files.lock(path, what=f"profile {wanted.profile}")


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
