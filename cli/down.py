"""`lab down`: removes what `lab up` made, and nothing else."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.consent import ask
from cli.deployed import CACHE, Deployed, deployed, get_pulumi
from cli.output import console, print_json
from cli.render.live import Watch
from cli.root_rights import root_rights
from cli.up import counted, failure
from host import command
from host.state import folder
from stacks.errors import LabError
from stacks.planning.plan import canonical

if TYPE_CHECKING:
    from cli.pulumi.workspace import Workspace

_REMOVAL_SECONDS = 1800.0
_OURS = ("accepted", "cluster.json", "lab.lock")


def run(root: Path, stack: str | None, *, yes: bool, purge: bool, as_json: bool) -> None:
    """Deletes the stack's resources and its cluster; with `purge` the caches and the stack's weights too. Raises
    LabError.
    """
    target = deployed(root, stack)
    caches, models = CACHE.expanduser(), Path(target.plan.model_cache.host_path).expanduser()
    stands = (target.folder / "cluster").exists()
    workspace = target.workspace(get_pulumi(target.plan)) if target.recorded() else None
    resources = len((workspace.deployment() or {}).get("resources") or []) if workspace else 0
    if not (resources or stands or purge):
        raise LabError(
            f"nothing of stack {target.stack} is recorded on this machine",
            remedy=f"./lab status {target.stack} shows what runs",
        )
    if purge and (others := _other_clusters(target.stack)):
        raise LabError(
            f"{caches} is in use by {', '.join(others)}",
            remedy=f"./lab down {others[0]} first, or ./lab down {target.stack} without --purge",
        )
    weights = sorted({m.weights.directory for m in target.plan.models})
    if purge:
        from host.models import refuse_purge

        refuse_purge(models, weights)
    what = f"removes {caches} and {', '.join(weights)} in {models}" if purge else f"keeps {caches} and {models}"
    console(stderr=True).print(
        f"removes the cluster {target.plan.cluster.name} and all that is in it; {what}", markup=False
    )
    ask("Remove it?", yes=yes, remedy=f"./lab down {target.stack} --yes")
    with target.alone(), root_rights(needed=bool(resources) or stands or (purge and caches.exists())):
        summary = _destroy(target, workspace, quiet=as_json) if workspace and resources else {}
        if target.embedded and (target.folder / "cluster").exists():  # the state was lost, or it lost its bootstrap
            _remove_cluster(target)
        if purge:
            _purge(caches, models, weights)
        for name in _OURS:
            (target.folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        target.folder.rmdir()
    kept = [str(p) for p in (caches, models) if p.exists()]
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
    environment = {"LAB_STACK": target.stack, "LAB_SPEC": canonical(target.plan.cluster), "LAB_BY_STACK": "1"}
    words = [sys.executable, "-m", "host", str(target.plan.cluster.driver), "destroy"]
    try:
        command.run(
            words,
            cwd=target.root,
            environment={**environment, "PYTHONPATH": str(target.root)},
            timeout=_REMOVAL_SECONDS,
        )
    except command.CommandFailed as error:
        raise LabError(
            f"the cluster {target.plan.cluster.name} could not be removed: {error.output.strip()}",
            remedy="then this again",
        ) from None


def _purge(caches: Path, models: Path, weights: list[str]) -> None:
    from host.models import purge

    purge(models, weights)
    if caches.exists():
        command.run(
            ["rm", "-rf", "--one-file-system", str(caches)], timeout=_REMOVAL_SECONDS, root=True
        )  # root's files of images are in it


def _other_clusters(stack: str) -> list[str]:
    """Stacks other than this one whose cluster stands on this machine: the caches hold their images."""
    return sorted(p.parent.name for p in folder(stack).parent.glob("*/cluster") if p.parent.name != stack)
