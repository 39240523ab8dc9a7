"""`lab refresh`: lets Pulumi look at every resource and correct its state; changes nothing on the machine."""

from __future__ import annotations

from pathlib import Path

from cli.commands.up import counted, failure
from cli.deployed import deployed, get_pulumi
from cli.output import console, print_json
from cli.render.live import Watch
from stacks.errors import LabError


def run(root: Path, stack: str | None, *, as_json: bool) -> None:
    """Refreshes the state of a stack that was made. Raises LabError."""
    from cli.pulumi.recovery import recover

    target = deployed(root, stack)
    with target.alone():
        workspace = target.workspace(get_pulumi(target.plan))
        deployment = workspace.deployment() if target.recorded() else None
        if not deployment or not deployment.get("resources"):
            raise LabError(f"stack {target.stack} was never made here", remedy=f"./lab up {target.stack}")
        for done in recover(workspace, deployment):
            console(stderr=True).print(done, markup=False, style="yellow")
        with Watch(quiet=as_json) as watch:
            outcome = workspace.run("refresh", on_event=watch)
    if not outcome.ok:
        raise failure(target.stack, outcome, f"if the cluster is down: ./lab up {target.stack}")
    if as_json:
        print_json({"stack": target.stack, **outcome.to_json()})
    else:
        console().print(f"[bold]{counted(outcome)}[/]; repair what differs with: ./lab up {target.stack}", style="")
