"""`lab up`: from a bare machine to an answered completion, with the comfort around `pulumi up`."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.commands.check import check_all
from cli.commands.learn import learn_from_running, print_rows
from cli.commands.learn import summary as summary_of
from cli.commands.status import cluster_status
from cli.consent import accept, require_consent
from cli.deployed import Deployed, deployed, get_pulumi
from cli.output import console, fail, print_json
from cli.render.live import Watch
from cli.root_rights import root_rights
from host.artifacts.models import ensure_weights
from host.drivers.epoch import ClusterReplaced, accept_replacement, recorded_uid, wanted_epoch
from host.prepare import prepare_machine
from host.system.state import claim, epoch, record
from stacks.errors import LabError

if TYPE_CHECKING:
    from cli.pulumi.events import Outcome
    from cli.pulumi.workspace import Workspace
    from host.artifacts.pulumi import Pulumi
    from probes.hops import Walk

_CHECK = "inference-check-run"
_DONE = {
    "create": "created",
    "update": "updated",
    "replace": "replaced",
    "delete": "deleted",
    "same": "unchanged",
    "refresh": "refreshed",
}


def run(root: Path, stack: str | None, *, yes: bool, as_json: bool) -> None:
    """Makes the stack as its file says, and ends with a model's answer; exits with 1 where one does not answer."""
    begin = time.monotonic()
    target = deployed(root, stack)
    target.require_deployable()
    consent = require_consent(target, yes=yes)
    with target.alone(), root_rights(needed=False):
        accept(target, consent)
        if target.prepares:  # builds and downloads run side by side, and nothing but caches is changed by a failure
            prepare_machine(target.plan, target.plugins, functools.partial(_check_passphrase, target))
        claim(target.stack, root)
        outcome = _apply(target, target.workspace(get_pulumi(target.plan)), quiet=as_json)
        walks = check_all(target, wait=True) if outcome.ok and (as_json or not _ran_check(outcome)) else None
        learned = learn_from_running(target) if outcome.ok else {}
    summary = {
        "stack": target.stack,
        "summary": outcome.summary,
        "seconds": round(time.monotonic() - begin, 1),
        "ok": outcome.ok and all(w.ok for w in walks or []),
    }
    if as_json:
        print_json(
            {
                **summary,
                "check": [w.to_json() for w in walks] if walks else None,
                "off": summary_of(learned),
                "diagnostics": outcome.diagnostics,
            }
        )
    else:
        _print_end(target, outcome, walks, summary)
        for name, rows in learned.items():
            if any(row.off for row in rows):
                print_rows(name, rows)
    if not outcome.ok:
        sys.exit(130 if outcome.interrupted else 1)
    if walks and not all(w.ok for w in walks):
        fail(next(w.failure for w in walks if w.failure), as_json=False)


def _apply(target: Deployed, workspace: Workspace, *, quiet: bool) -> Outcome:
    """Applies; once more, with a look at every object, where the cluster turns out to be a new one."""
    from cli.pulumi.recovery import recover

    deployment = workspace.deployment()
    if deployment is None:
        workspace.init()
    else:
        for done in recover(workspace, deployment):
            console(stderr=True).print(done, markup=False, style="yellow")
        _repair_gpu(target)
    lost = deployment is not None and _wake(target)
    refresh = _accepted(target) or lost
    outcome = _apply_once(workspace, refresh=refresh, quiet=quiet)
    if not outcome.ok and not outcome.interrupted and not refresh and _accepted(target):
        outcome = _apply_once(workspace, refresh=True, quiet=quiet)
    return outcome


def _check_passphrase(target: Deployed, pulumi: Pulumi) -> None:
    """Raises LabError where the passphrase is not the one of the stack file's salt."""
    from cli.pulumi.workspace import scratch

    if target.config.salt:
        with scratch(target.root, target.stack, pulumi):  # making a stack from the file tries the passphrase
            pass


def _apply_once(workspace: Workspace, *, refresh: bool, quiet: bool) -> Outcome:
    with Watch(quiet=quiet) as watch:
        return workspace.run("up", *(["--refresh"] if refresh else []), on_event=watch)


def _repair_gpu(target: Deployed) -> None:
    """Layers of the machine that were lost since are made again: their Command's inputs are the same, so that Pulumi
    would not run it.
    """
    from host.drivers.nvidia.driver import repair

    if target.plan.nvidia and target.plan.nvidia.host:
        for changed in repair(target.stack, target.plan.nvidia.host):
            console(stderr=True).print(f"NVIDIA: {changed} again", markup=False, style="yellow")


def _wake(target: Deployed) -> bool:
    """The API server may answer while another program is dead, the node lost its GPU, or weights are gone: then the
    bootstrap runs again, and they are made. Returns whether all that the state names is gone, so that every object has
    to be read again.
    """
    if not (uid := recorded_uid(target.stack)):
        return False
    found = cluster_status(target).get("state")
    if found in ("degraded", "lost"):
        record(target.stack, epoch(target.stack) + 1, uid)  # differs from the state's: the Command updates
    if target.plan.cache_folder is None:  # pods fetch their own
        return found == "lost"
    for weights in (w for m in target.plan.models for w in m.all_weights):
        if not weights.packages and (target.plan.hugging_face_token or not target.prepares):
            continue  # its Command fetches it: only Pulumi can decrypt the token that a gated repository needs
        ensure_weights(weights, Path(target.plan.cache_folder).expanduser())
    return False


def _accepted(target: Deployed) -> bool:
    try:
        wanted_epoch(target.stack, target.plan.cluster.driver)
    except ClusterReplaced:
        console(stderr=True).print("the cluster was made again: every object is read again", style="yellow")
        accept_replacement(target.stack)
        return True
    return False


def _print_end(target: Deployed, outcome: Outcome, walks: list[Walk] | None, summary: dict[str, Any]) -> None:
    out = console()
    if not outcome.ok:
        print_failure(target, outcome)
    out.print(f"[bold]{counted(outcome)}[/]   {summary['seconds']} s")
    if walks:
        from probes.hops import table

        for walk in walks:
            out.print(table(walk), markup=False)
    if outcome.ok:
        for model in target.plan.models:
            out.print(f"  endpoint  {model.endpoint}   model {model.name}", markup=False)
        out.print(
            f"  again: ./lab check {target.stack}    state: ./lab status {target.stack}    remove: ./lab down "
            f"{target.stack}",
            style="dim",
        )


def counted(outcome: Outcome) -> str:
    """What a run did, in words: 3 created, 20 unchanged."""
    return ", ".join(f"{n} {_DONE.get(op, op)}" for op, n in outcome.summary.items()) or "nothing done"


def print_failure(target: Deployed, outcome: Outcome) -> None:
    """What went wrong, on standard error, in Pulumi's words, and what to type where that is known."""
    out = console(stderr=True)
    if outcome.interrupted:
        out.print("stopped; the next run goes on from here", style="yellow")
    if outcome.messages:
        out.print(str(failure(target.stack, outcome, "")), markup=False, style="red")


def failure(stack: str, outcome: Outcome, remedy: str) -> LabError:
    """The error of a run that did not come to its end."""
    from cli.pulumi.workspace import explained

    error = explained(stack, "\n".join(outcome.messages) or "Pulumi was stopped")
    return LabError(error.message, remedy=error.remedy or remedy)


def _ran_check(outcome: Outcome) -> bool:
    return any(step.name == _CHECK and step.op != "same" for step in outcome.steps)
