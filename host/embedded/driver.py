"""`ensure`, `status` and `destroy` of the embedded cluster: what `python -m host embedded` calls."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from host import command, files, state
from host.embedded import cgroups, images, namespaces, ownership, parts, preflight, programs, teardown
from host.embedded.converge import Converging, supervisor
from host.embedded.layout import Layout
from host.embedded.observe import look, node_problem
from host.epoch import recorded_uid
from host.progress import step
from stacks.errors import HostError
from stacks.planning.plan import EmbeddedPlan


def ensure(environment: Mapping[str, str]) -> None:
    """The cluster of LAB_SPEC runs and is healthy afterwards; prints one JSON line of what was changed. Raises
    HostError.
    """
    layout = _layout(environment)
    running = namespaces.present(layout) if os.geteuid() == 0 else False
    ready = parts.available(layout.plan, layout.cache)
    if not (running and ready):
        with step("looking at the machine"):
            preflight.check(layout, warm=ready is not None)
    made = parts.make(layout.plan, layout.cache)
    if os.geteuid() != 0:
        state.folder(layout.stack).mkdir(parents=True, exist_ok=True)  # the caller's own, before root writes into it
        # as the caller, who owns the cache and whose mirrors hold; it takes root itself where it must
        images.build(layout.plan)
        _as_root("ensure", environment)
    _use_tools(made)
    with files.lock(_lock(layout), what=f"the cluster {layout.plan.name}"):
        ownership.require(layout)
        converging = Converging(layout, made)
        converging.run(int(environment.get("LAB_EPOCH", "0")))
    _say(
        {
            "cluster": layout.plan.name,
            "server": layout.server,
            "kubeconfig": layout.plan.kubeconfig,
            "changed": converging.changes,
        }
    )


def status(environment: Mapping[str, str]) -> None:
    """Prints what runs, since when and where, as JSON; changes nothing."""
    layout = _layout(environment)
    if os.geteuid() != 0 and (layout.state.exists() or layout.run.exists()):
        _as_root("status", environment)
    found = supervisor(layout, None, [])
    running = {name: found.find(name) for name in (*programs.FIRST, *programs.SECOND)}
    problems = {name: text for name, text in look(layout).items() if text} if namespaces.present(layout) else {}
    if not any(running.values()):
        summary = "stopped" if layout.state.exists() else "absent"
    else:
        node = node_problem(layout)
        problems |= {"node": node} if node else {}
        summary = "running" if all(running.values()) and not problems else "degraded"
    _say({
        "cluster": layout.plan.name, "state": summary, "problems": problems, "node": layout.plan.node, "address": layout.plan.address, "server": layout.server,
        "pods": layout.pods, "services": layout.services, "link": layout.link, "kubeconfig": layout.plan.kubeconfig,
        "programs": {name: {"pid": r.pid, "seconds": int(r.seconds)} if r else None for name, r in running.items()},
        "processes": len(cgroups.processes(layout)), "epoch": state.epoch(layout.stack), "logs": str(layout.state / "logs"),
    })  # fmt: skip


def destroy(environment: Mapping[str, str]) -> None:
    """Nothing of the cluster is left afterwards but what others use too: programs and built images. Raises HostError."""
    layout = _layout(environment)
    if os.geteuid() != 0:
        _as_root("destroy", environment)
    with files.lock(_lock(layout), what=f"the cluster {layout.plan.name}"):
        if not ownership.require(layout) and namespaces.link_owner(layout.link) != layout.link_alias:
            if _by_stack(environment) and recorded_uid(layout.stack):
                state.record(layout.stack, state.epoch(layout.stack), "")
            _say({"cluster": layout.plan.name, "removed": False, "kept": [str(layout.cache)]})
            return
        ready = parts.available(layout.plan, layout.cache)
        if ready:
            _use_tools(ready)
        with step(f"removing {layout.plan.name}"):
            teardown.remove(layout, by_stack=_by_stack(environment))
    _say({"cluster": layout.plan.name, "removed": True, "kept": [str(layout.cache)]})


def _by_stack(environment: Mapping[str, str]) -> bool:
    """Whether the stack's own Command runs this (Pulumi hands it the output of its creation), or `lab down`."""
    return "PULUMI_COMMAND_STDOUT" in environment or environment.get("LAB_BY_STACK") == "1"


def _layout(environment: Mapping[str, str]) -> Layout:
    try:
        return Layout(environment["LAB_STACK"], EmbeddedPlan.model_validate_json(environment["LAB_SPEC"]))
    except KeyError as error:
        raise HostError(
            f"{error.args[0]} is not set",
            remedy='`lab up` sets it; by hand: LAB_STACK=dev LAB_SPEC="$(lab plan dev --json | jq -c .cluster)"',
        ) from None
    except ValueError as error:
        raise HostError(f"LAB_SPEC is no embedded cluster: {error}") from None


def _as_root(verb: str, environment: Mapping[str, str]) -> NoReturn:
    """Becomes the same verb under `sudo`, with the caller's home and as the owner of what it writes for the caller."""
    kept = {name: environment[name] for name in ("LAB_STACK", "LAB_SPEC", "LAB_EPOCH", "PATH") if name in environment}
    kept |= {
        "LAB_BY_STACK": str(int(_by_stack(environment))),
        "HOME": str(Path.home()),
        "LAB_OWNER_UID": str(os.getuid()),
        "LAB_OWNER_GID": str(os.getgid()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command.become_root(["env", *(f"{n}={v}" for n, v in kept.items()), sys.executable, "-m", "host", "embedded", verb])


def _lock(layout: Layout) -> Path:
    return layout.cache / f".{layout.plan.name}.lock"


def _use_tools(made: parts.Parts) -> None:
    """Our own calls of ip find the private prefix behind the machine's."""
    ours = made.environment()
    if "LD_LIBRARY_PATH" in ours:
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(
            filter(None, (os.environ.get("LD_LIBRARY_PATH"), ours["LD_LIBRARY_PATH"]))
        )
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", ours["PATH"]))


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
