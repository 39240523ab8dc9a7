"""`lab down`: removes what `lab up` made, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.consent import ask
from cli.deployed import Deployed, deployed
from cli.output import MARKS, console, print_json
from cli.root_rights import root_rights
from host import command
from host.state import folder
from stacks.errors import LabError
from stacks.planning.plan import canonical

if TYPE_CHECKING:
    from engine import Event

_CACHE = Path("~/.cache/local-ai-lab")


def run(root: Path, stack: str | None, *, yes: bool, purge: bool, as_json: bool) -> None:
    """Deletes the stack's resources and its cluster; with `purge` the caches and the stack's weights too. Raises LabError."""
    target = deployed(root, stack)
    caches, models = _CACHE.expanduser(), Path(target.plan.model_cache.host_path).expanduser()
    stands = (folder(target.stack) / "cluster").exists()
    if not (target.state.exists() or stands or purge):
        raise LabError(
            f"nothing of stack {target.stack} is recorded on this machine", remedy=f"./lab status {target.stack} shows what runs"
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
    console(stderr=True).print(f"removes the cluster {target.plan.cluster.name} and all that is in it; {what}", markup=False)
    ask("Remove it?", yes=yes, remedy=f"./lab down {target.stack} --yes")
    with root_rights(needed=target.state.exists() or stands or (purge and caches.exists())):
        summary = _remove_all(target, caches if purge else None, models, weights)
    kept = [str(p) for p in (caches, models) if p.exists()]
    if as_json:
        print_json({"stack": target.stack, "summary": summary, "kept": kept})
    else:
        console().print(f"stack {target.stack} is down" + (f"; kept {', '.join(kept)}" if kept else ""), markup=False)


def _remove_all(target: Deployed, caches: Path | None, models: Path, weights: list[str]) -> dict[str, int]:
    """The stack, its cluster and what is recorded of it; `caches` too where they are given, and then the weights in `models`."""
    from engine import lock_state

    summary = _remove(target) if target.state.exists() else {}
    with lock_state(target.state):
        if target.state.exists() and json.loads(target.state.read_text(encoding="utf-8"))["deployment"].get("resources"):
            raise LabError("another run has made the stack again meanwhile", remedy=f"./lab down {target.stack}")
        if (folder(target.stack) / "cluster").exists():  # its record was lost, or the stack lost its bootstrap
            _remove_cluster(target)
        if caches:
            from host.models import purge as purge_weights

            purge_weights(models, weights)
            if caches.exists():
                command.run(["rm", "-rf", "--one-file-system", caches], timeout=1800, root=True)  # root's store of images is in it
        for name in ("state.json", "state.json.lock", "cluster.json"):
            (folder(target.stack) / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder(target.stack).rmdir()
    return summary


def _remove(target: Deployed) -> dict[str, int]:
    import engine

    result = engine.down(target.state, target.root, secrets=target.secrets(), embedded=True, on_event=_print)
    if not result.ok:
        raise LabError(
            "\n".join(d.message for d in result.diagnostics), remedy=f"./lab down {target.stack} again; it goes on where it stopped"
        )
    return dict(result.summary)


def _remove_cluster(target: Deployed) -> None:
    environment = {**os.environ, "LAB_STACK": target.stack, "LAB_SPEC": canonical(target.plan.cluster), "LAB_BY_STACK": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "host", target.plan.cluster.driver, "destroy"], cwd=target.root, env=environment, check=False
    )
    if done.returncode:
        raise LabError(f"the cluster {target.plan.cluster.name} could not be removed", remedy="it says why above; then this again")


def _other_clusters(stack: str) -> list[str]:
    """Stacks other than this one whose cluster stands on this machine: the caches hold their images."""
    return sorted(p.parent.name for p in folder(stack).parent.glob("*/cluster") if p.parent.name != stack)


def _print(event: Event) -> None:
    mark, style = MARKS["delete"]
    if event.kind == "done":
        console(stderr=True).print(f"  [{style}]{mark}[/] [bold]{event.name}[/]  [dim]{event.type}[/]")
