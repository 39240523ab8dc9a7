"""`ensure`, `status` and `destroy` of the embedded cluster: what `python -m host embedded` calls."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from host.artifacts.images import static
from host.drivers import specification
from host.drivers.embedded import (
    cgroups,
    images,
    namespaces,
    ownership,
    parts,
    policies,
    preflight,
    programs,
    teardown,
)
from host.drivers.embedded.converge import Converging, supervisor
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.observe import look, node_problem
from host.drivers.epoch import recorded_uid
from host.system import files, state
from host.system.progress import step
from stacks.plan import EmbeddedPlan


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
        specification.as_root("embedded", "ensure", environment)
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
        specification.as_root("embedded", "status", environment)
    found = supervisor(layout, None, [])
    running = {name: found.find(name) for name in programs.of(layout.plan)}
    problems = {name: text for name, text in look(layout).items() if text} if namespaces.present(layout) else {}
    if layout.plan.network_policies and namespaces.present(layout):
        made = parts.available(layout.plan, layout.cache)
        rules = policies.problem(layout, made) if made else "kube-network-policies is not in the cache"
        problems |= {"network policies": rules} if rules else {}
    if not any(running.values()):
        summary = "stopped" if layout.state.exists() else "absent"
    else:
        node = node_problem(layout)
        problems |= {"node": node} if node else {}
        summary = "running" if all(running.values()) and not problems else "degraded"
    _say({
        "cluster": layout.plan.name, "state": summary, "problems": problems, "node": layout.plan.node,
        "address": layout.plan.address, "server": layout.server,
        "pods": layout.pods, "services": layout.services, "link": layout.link, "kubeconfig": layout.plan.kubeconfig,
        "programs": {name: {"pid": r.pid, "seconds": int(r.seconds)} if r else None for name, r in running.items()},
        "processes": len(cgroups.processes(layout)), "epoch": state.epoch(layout.stack),
        "logs": str(layout.state / "logs"),
    })  # fmt: skip


def destroy(environment: Mapping[str, str]) -> None:
    """Nothing of the cluster is left afterwards but what others use too: programs and built images. Raises
    HostError.
    """
    layout = _layout(environment)
    if os.geteuid() != 0:
        specification.as_root("embedded", "destroy", environment)
    with files.lock(_lock(layout), what=f"the cluster {layout.plan.name}"):
        if not ownership.require(layout) and namespaces.link_owner(layout.link) != layout.link_alias:
            if specification.by_stack(environment) and recorded_uid(layout.stack):
                state.record(layout.stack, state.epoch(layout.stack), "")
            _say({"cluster": layout.plan.name, "removed": False, "kept": [str(layout.cache)]})
            return
        ready = parts.available(layout.plan, layout.cache)
        if ready:
            _use_tools(ready)
        with step(f"removing {layout.plan.name}"):
            teardown.remove(layout, by_stack=specification.by_stack(environment))
    _say({"cluster": layout.plan.name, "removed": True, "kept": [str(layout.cache)]})


def prepare(stack: str, plan: EmbeddedPlan) -> list[Callable[[], object]]:
    """What makes the cluster's programs, once the machine was looked at. Raises HostError where it cannot carry one."""
    layout = Layout(stack, plan)
    ready = parts.available(plan, layout.cache)
    if not (ready and os.geteuid() == 0 and namespaces.present(layout)):
        with step("looking at the machine"):
            preflight.check(layout, warm=ready is not None)
    return [lambda: parts.make(plan, layout.cache), lambda: images.build(plan, only=set(static.ALL))]


def stands(stack: str) -> bool:
    """Whether a cluster of the stack was begun on this machine."""
    return (state.folder(stack) / "cluster").exists()


def _layout(environment: Mapping[str, str]) -> Layout:
    return Layout(*specification.read(environment, EmbeddedPlan, what="embedded cluster"))


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
