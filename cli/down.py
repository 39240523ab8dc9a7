"""`lab down`: removes what `lab up` made, and nothing else."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.consent import ask
from cli.deployed import deployed
from cli.output import MARKS, console, print_json
from host.state import folder
from stacks.errors import LabError

if TYPE_CHECKING:
    from engine import Event

_CACHE = Path("~/.cache/local-ai-lab")


def run(root: Path, stack: str | None, *, yes: bool, purge: bool, as_json: bool) -> None:
    """Deletes the stack's resources and its cluster; with `purge` the caches and the model cache too."""
    target = deployed(root, stack)
    caches = [_CACHE.expanduser(), Path(target.plan.model_cache.host_path).expanduser()]
    out = console(stderr=True)
    if not target.state.exists() and not purge:
        raise LabError(
            f"nothing of stack {target.stack} is recorded on this machine", remedy=f"./lab status {target.stack} shows what runs"
        )
    out.print(
        f"removes the cluster {target.plan.cluster.name} and all that is in it; {'removes' if purge else 'keeps'} {' and '.join(map(str, caches))}"
    )
    ask("Remove it?", yes=yes, remedy=f"./lab down {target.stack} --yes")
    import engine

    summary: dict[str, int] = {}
    if target.state.exists():
        result = engine.down(target.state, root, secrets=target.secrets(), embedded=True, on_event=_print)
        if not result.ok:
            raise LabError(
                "\n".join(d.message for d in result.diagnostics), remedy=f"./lab down {target.stack} again; it goes on where it stopped"
            )
        summary = dict(result.summary)
        for name in ("state.json", "cluster.json"):
            (folder(target.stack) / name).unlink(missing_ok=True)
    if purge:
        for path in caches:
            shutil.rmtree(path, ignore_errors=False) if path.exists() else None
    kept = [] if purge else [str(p) for p in caches if p.exists()]
    if as_json:
        print_json({"stack": target.stack, "summary": summary, "kept": kept})
    else:
        console().print(f"stack {target.stack} is down" + (f"; kept {', '.join(kept)}" if kept else ""), markup=False)
    sys.exit(0)


def _print(event: Event) -> None:
    mark, style = MARKS["delete"]
    if event.kind == "done":
        console(stderr=True).print(f"  [{style}]{mark}[/] [bold]{event.name}[/]  [dim]{event.type}[/]")
