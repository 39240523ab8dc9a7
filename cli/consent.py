"""Asking before the machine is changed."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

from cli.output import console
from host.files import write_atomic
from stacks.errors import LabError

if TYPE_CHECKING:
    from cli.deployed import Deployed


def require_consent(target: Deployed, *, yes: bool) -> None:
    """Lists the changes to the machine and asks, unless exactly these were accepted before. Raises LabError (exit code
    2) without a yes.
    """
    changes = [change.model_dump(mode="json") for change in target.plan.host_changes]
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
    accepted = target.folder / "accepted"
    if accepted.exists() and accepted.read_text(encoding="utf-8").strip() == digest:
        return
    from cli.render.host_changes import print_host_changes

    out = console(stderr=True)
    print_host_changes(out, target.plan)
    ask(
        "Apply these changes?",
        yes=yes or target.config.own.get("hostChanges") == "allow",
        remedy=f"./lab up {target.stack} --yes",
    )
    write_atomic(accepted, digest + "\n")


def ask(question: str, *, yes: bool, remedy: str) -> None:
    """Goes on where the person says yes, or said so before. Raises LabError (exit code 2) otherwise, and where nobody
    can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        error = LabError("this changes the machine, and nobody can be asked here", remedy=remedy)
        error.exit_code = 2
        raise error
    console(stderr=True).print(f"[bold]{question}[/] \\[y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        error = LabError("nothing was changed", remedy="")
        error.exit_code = 2
        raise error
