"""`lab down`: removes what `lab up` made, and nothing else."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cli.commands.up import counted, failure
from cli.consent import ask
from cli.deployed import CACHE, Deployed, deployed, get_pulumi
from cli.output import console, print_json
from cli.render.live import Watch
from cli.root_rights import root_rights
from host.drivers import optional
from host.drivers.claims import claiming
from host.system import command
from stacks.errors import LabError

if TYPE_CHECKING:
    from cli.pulumi.workspace import Workspace

_REMOVAL_SECONDS = 1800.0
_OURS = ("accepted", "accepted-restart", "cluster.json", "lab.lock", "docker.lock", "existing.lock", "owner", "project")


def run(root: Path, stack: str | None, *, yes: bool, purge: bool, as_json: bool) -> None:
    """Deletes the stack's resources and its cluster; with `purge` the caches and the stack's weights too. Raises
    LabError.
    """
    target = deployed(root, stack)
    caches = CACHE.expanduser()
    models = Path(target.plan.cache_folder).expanduser() if target.plan.cache_folder else None
    stands = target.stands
    workspace = target.workspace(get_pulumi(target.plan)) if target.recorded() else None
    resources = len((workspace.deployment() or {}).get("resources") or []) if workspace else 0
    if not (resources or stands or purge):
        raise LabError(
            f"nothing of stack {target.stack} is recorded on this machine",
            remedy=f"./lab status {target.stack} shows what runs",
        )
    if purge and (others := sorted(claiming() - {target.stack})):
        raise LabError(
            f"{caches} is in use by {', '.join(others)}",
            remedy=f"./lab down {others[0]} first, or ./lab down {target.stack} without --purge",
        )
    weights = sorted({w.directory for m in target.plan.models for w in m.all_weights})
    if purge and models:
        from host.artifacts.models import refuse_purge

        refuse_purge(models, weights)
    said = _said(target, caches, models, weights if purge else None)
    console(stderr=True).print(said, markup=False)
    if look := optional(target.plan.cluster.driver, "refuse_removal"):
        look(target.stack, target.plan.cluster)
    ask("Remove it?", yes=yes, remedy=f"./lab down {target.stack} --yes")
    rooted = (target.cluster_needs_root and (bool(resources) or stands)) or (purge and caches.exists())
    with target.alone(), root_rights(needed=rooted):
        summary = _destroy(target, workspace, quiet=as_json) if workspace and resources else {}
        if target.stands:  # the state was lost, or it lost its bootstrap
            _remove_cluster(target)
        if purge:
            _purge(caches, models, weights)
            shutil.rmtree(target.folder / "gateway", ignore_errors=True)
        for name in _OURS:
            (target.folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        target.folder.rmdir()
    kept = [str(p) for p in (caches, models) if p and p.exists()]
    if as_json:
        print_json({"stack": target.stack, "summary": summary, "kept": kept})
    else:
        console().print(f"stack {target.stack} is down" + (f"; kept {', '.join(kept)}" if kept else ""), markup=False)


def _destroy(target: Deployed, workspace: Workspace, *, quiet: bool) -> dict[str, int]:
    from cli.pulumi.recovery import recover

    for done in recover(workspace, workspace.deployment() or {}):
        console(stderr=True).print(done, markup=False, style="yellow")
    with Watch(quiet=quiet) as watch:
        outcome = workspace.run("destroy", on_event=watch)
    if not outcome.ok:
        raise failure(target.stack, outcome, f"./lab down {target.stack} again; it goes on where it stopped")
    if not quiet:
        console(stderr=True).print(f"[bold]{counted(outcome)}[/]")
    return outcome.summary


def _remove_cluster(target: Deployed) -> None:
    words, environment = target.driver_command("destroy")
    try:
        command.run(words, cwd=target.root, environment={**environment, "LAB_BY_STACK": "1"}, timeout=_REMOVAL_SECONDS)
    except command.CommandFailed as error:
        raise LabError(
            f"the cluster {target.plan.cluster.name} could not be removed: {error.output.strip()}",
            remedy="then this again",
        ) from None


def _said(target: Deployed, caches: Path, models: Path | None, purged: list[str] | None) -> str:
    """What is removed and what is kept, in one sentence."""
    plan = target.plan
    if models is None:
        space = f"namespace {plan.kubernetes.namespace} of {plan.cluster.name} and all that is in it, weights too"
        return f"removes {space}; {'removes' if purged is not None else 'keeps'} {caches}; the cluster stays"
    made = "the cluster" if plan.target == "kubernetes" else "the containers of"
    kept = f"keeps {caches} and {models}" if purged is None else f"removes {caches} and {', '.join(purged)} in {models}"
    return f"removes {made} {plan.cluster.name} and all that is in it; {kept}"


def _purge(caches: Path, models: Path | None, weights: list[str]) -> None:
    from host.artifacts.models import purge

    if models:
        purge(models, weights)
    if caches.exists():
        command.run(
            ["rm", "-rf", "--one-file-system", str(caches)], timeout=_REMOVAL_SECONDS, root=True
        )  # root's files of images are in it
