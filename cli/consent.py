"""Asking before the machine is changed."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.output import console
from host.system.files import write_atomic
from stacks.errors import LabError

if TYPE_CHECKING:
    from cli.deployed import Deployed


@dataclass(frozen=True)
class Consent:
    """What was agreed to: the digest of the listed changes, and the running containers that may be stopped once."""

    digest: str
    stops: tuple[str, ...] = ()


def require_consent(target: Deployed, *, yes: bool) -> Consent:
    """Lists the changes to the machine and asks, unless exactly these were accepted before and no running container
    would be stopped; returns what `accept` records. Raises LabError (exit code 2) without a yes.
    """
    changes = [change.model_dump(mode="json") for change in target.plan.host_changes]
    digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
    accepted, stops = target.folder / "accepted", _would_stop(target)
    if not stops and accepted.exists() and accepted.read_text(encoding="utf-8").strip() == digest:
        return Consent(digest)
    from cli.render.host_changes import print_host_changes

    out = console(stderr=True)
    print_host_changes(out, target.plan)
    if stops:
        out.print(f"Docker restarts once, which stops these running containers: {', '.join(stops)}", style="yellow")
    ask(
        "Apply these changes?",
        yes=yes or target.config.own.get("hostChanges") == "allow",
        remedy=f"./lab up {target.stack} --yes",
    )
    return Consent(digest, stops)


def accept(target: Deployed, consent: Consent) -> None:
    """Records that these changes were accepted: once the stack is locked, and not before."""
    write_atomic(target.folder / "accepted", consent.digest + "\n")
    if consent.stops:
        write_atomic(target.folder / "accepted-restart", json.dumps(consent.stops) + "\n")
    else:
        (target.folder / "accepted-restart").unlink(missing_ok=True)


def _would_stop(target: Deployed) -> tuple[str, ...]:
    """Running containers of this machine that a due restart of Docker would stop. This looks at the machine: only `up`
    asks for it, and no preview.
    """
    from host.drivers.nvidia.driver import would_stop

    nvidia = target.plan.nvidia
    return would_stop(target.stack, nvidia.host) if nvidia and nvidia.host else ()


def ask(question: str, *, yes: bool, remedy: str) -> None:
    """Goes on where the person says yes, or said so before. Raises LabError (exit code 2) otherwise, and where nobody
    can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise LabError("this changes the machine, and nobody can be asked here", remedy=remedy, exit_code=2)
    console(stderr=True).print(f"[bold]{question}[/] \\[y/N] ", end="")
    if input().strip().lower() not in ("y", "yes"):
        raise LabError("nothing was changed", exit_code=2)
