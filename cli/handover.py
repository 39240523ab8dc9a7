"""`lab handover`: gives a stack to the Pulumi CLI for good."""

from __future__ import annotations

import json
from pathlib import Path

from cli.consent import ask
from cli.deployed import deployed
from cli.output import console
from host.files import write_atomic
from stacks.errors import LabError


def run(root: Path, stack: str, *, yes: bool, output: Path) -> None:
    """Writes the state for `pulumi stack import` and ends the embedded engine's part. Raises LabError where the stack has no salt yet."""
    target = deployed(root, stack)
    if not target.config.salt:
        raise LabError(
            f"Pulumi.{stack}.yaml has no encryptionsalt", remedy=f'eval "$(./lab env)"; pulumi stack init {stack}; then this again'
        )
    ask(f"From then on only the Pulumi CLI applies {stack}. Hand it over?", yes=yes, remedy=f"./lab handover {stack} --yes")
    import engine

    document = engine.export(target.state, target.config.salt, target.secrets())
    write_atomic(output, json.dumps(document, indent=1), mode=0o600)
    engine.mark_handed_over(target.state)
    console().print(f"wrote {output}; next: pulumi stack import -s {stack} --file {output}; pulumi preview -s {stack}", markup=False)
