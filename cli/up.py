"""`lab up`: from a bare machine to an answered completion, with the embedded engine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.check import check_all
from cli.consent import ask
from cli.deployed import Deployed, deployed, remember
from cli.output import MARKS, console, fail, print_json
from cli.root_rights import root_rights
from cli.status import cluster_status
from host.generation import ClusterReplaced, accept_replacement, recorded_uid, wanted_generation
from host.models import ensure_weights
from host.state import generation, record
from stacks.errors import LabError

if TYPE_CHECKING:
    from engine import Event, Result

_CHECK = "inference-check-run"
_DONE = {"create": "created", "update": "updated", "replace": "replaced", "delete": "removed", "same": "unchanged"}


def run(root: Path, stack: str | None, *, yes: bool, as_json: bool) -> None:
    """Makes the stack as its file says, and ends with a model's own words; exits with 1 where one does not answer."""
    begin = time.monotonic()
    target = deployed(root, stack)
    if not target.embedded:
        error = LabError(
            f"stack {target.stack} runs on {target.plan.cluster.driver}, which only the Pulumi CLI applies",
            remedy=f'install Pulumi, then: eval "$(./lab env)"; pulumi up -s {target.stack}',
        )
        error.exit_code = 2
        raise error
    if not target.state.exists():
        _print_changes(target)
        ask("Change this machine so?", yes=yes or _allowed(target), remedy=f"./lab up {target.stack} --yes")
    remember(target.stack)
    with root_rights(needed=False):
        result = _apply(target, quiet=as_json)
    walks = check_all(target) if result.ok and (as_json or not _ran_check(result)) else None
    summary = {
        "stack": target.stack,
        "summary": dict(result.summary),
        "seconds": round(time.monotonic() - begin, 1),
        "ok": result.ok and all(w.ok for w in walks or []),
    }
    if as_json:
        print_json(
            {**summary, "check": [w.to_json() for w in walks] if walks else None, "diagnostics": [d.to_json() for d in result.diagnostics]}
        )
    else:
        _print_end(target, result, walks, summary)
    if not result.ok:
        sys.exit(result.exit_code)
    if walks and not all(w.ok for w in walks):
        fail(next(w.failure for w in walks if w.failure), as_json=False)


def _apply(target: Deployed, *, quiet: bool) -> Result:
    """Applies; once more, with a look at every object, where the cluster turns out to be a new one."""
    _wake(target)
    refresh = _accepted(target)
    result = _apply_once(target, refresh=refresh, quiet=quiet)
    if not result.ok and not refresh and _accepted(target):
        result = _apply_once(target, refresh=True, quiet=quiet)
    return result


def _wake(target: Deployed) -> None:
    """The API server may answer while another program is dead, or weights are gone: then the bootstrap runs again, and they are made."""
    if not target.state.exists() or not (uid := recorded_uid(target.stack)):
        return
    found = cluster_status(target)
    if any(program is None for program in (found.get("programs") or {}).values()) or "node" in (found.get("problems") or {}):
        record(target.stack, generation(target.stack) + 1, uid)  # differs from the state's: the Command updates
    for model in target.plan.models:
        ensure_weights(model.weights, Path(target.plan.model_cache.host_path).expanduser())


def _accepted(target: Deployed) -> bool:
    try:
        wanted_generation(target.stack)
    except ClusterReplaced:
        console(stderr=True).print("the cluster was made anew: everything is looked at again", style="yellow")
        accept_replacement(target.stack)
        return True
    return False


def _apply_once(target: Deployed, *, refresh: bool, quiet: bool) -> Result:
    import engine

    secrets = target.secrets()
    out = console(stderr=True)
    return engine.up(
        target.program(),
        target.engine_config(secrets),
        target.state,
        secrets=secrets,
        embedded=True,
        refresh=refresh,
        on_event=(lambda _event: None) if quiet else (lambda event: _print_event(out, event)),
    )


def _print_event(out: Any, event: Event) -> None:
    mark, style = MARKS.get(event.op, (" ", ""))
    if event.kind == "output":
        out.print(f"      {event.text.rstrip()}", markup=False, style="dim")
    elif event.kind == "done" and event.op != "same":
        out.print(f"  [{style}]{mark}[/] [bold]{event.name}[/]  [dim]{event.type}  {event.seconds:.1f} s[/]")
    elif event.kind == "started" and event.type == "command:local:Command":
        out.print(f"  [dim]{mark} {event.name} ...[/]")
    elif event.kind in ("failed", "waiting", "note"):
        first = event.text.splitlines()[0] if event.text else ""  # the end of the run shows all of it
        out.print(f"  {event.name}: {first}", markup=False, style="red" if event.kind == "failed" else "dim")


def _print_changes(target: Deployed) -> None:
    out = console(stderr=True)
    out.print(f"[bold]What `up` does to this machine[/]  [dim]stack {target.stack}[/]")
    for change in target.plan.host_changes:
        out.print(f"  {'root' if change.root else 'user'}  {change.kind:8}  {change.what}", markup=False)


def _print_end(target: Deployed, result: Result, walks: Any, summary: dict[str, Any]) -> None:
    out = console()
    for diagnostic in result.diagnostics:
        if diagnostic.severity == "error":
            out.print(diagnostic.message, markup=False, style="red")
    words = ", ".join(f"{n} {_DONE.get(op, op)}" for op, n in result.summary.items()) or "nothing done"
    out.print(f"[bold]{words}[/]   {summary['seconds']} s")
    if walks:
        from probes.hops import table

        for walk in walks:
            out.print(table(walk), markup=False)
    if result.ok:
        for model in target.plan.models:
            out.print(f"  endpoint  {model.endpoint}   model {model.name}", markup=False)
        out.print(
            f"  again: ./lab check {target.stack}    state: ./lab status {target.stack}    remove: ./lab down {target.stack}", style="dim"
        )


def _ran_check(result: Result) -> bool:
    return any(step.name == _CHECK and step.op != "same" for step in result.steps)


def _allowed(target: Deployed) -> bool:
    return target.config.own.get("hostChanges") == "allow"
