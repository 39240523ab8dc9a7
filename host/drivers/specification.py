"""What a driver's verbs are given: the stack and its slice of the plan, and how they become root."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel

from host.system import command
from stacks.errors import HostError

Slice = TypeVar("Slice", bound=BaseModel)
_PROJECT = Path(__file__).resolve().parents[2]
_KEPT = ("LAB_STACK", "LAB_SPEC", "LAB_EPOCH", "LAB_CACHE", "PATH")


def read(environment: Mapping[str, str], plan: type[Slice], *, what: str, part: str = ".cluster") -> tuple[str, Slice]:
    """The stack and the slice, from LAB_STACK and LAB_SPEC; `what` names the slice, and `part` is where `lab plan
    --json` has it. Raises HostError.
    """
    try:
        return environment["LAB_STACK"], plan.model_validate_json(environment["LAB_SPEC"])
    except KeyError as error:
        raise HostError(
            f"{error.args[0]} is not set",
            remedy=f'`lab up` sets it; by hand: LAB_STACK=S LAB_SPEC="$(lab plan S --json | jq -c {part})"',
        ) from None
    except ValueError as error:
        raise HostError(f"LAB_SPEC is no {what}: {error}") from None


def by_stack(environment: Mapping[str, str]) -> bool:
    """Whether the stack's own Command runs this (Pulumi hands it the output of its creation), or `lab down`."""
    return "PULUMI_COMMAND_STDOUT" in environment or environment.get("LAB_BY_STACK") == "1"


def as_root(driver: str, verb: str, environment: Mapping[str, str]) -> NoReturn:
    """Becomes the same verb under `sudo`, with the caller's home and as the owner of what it writes for the caller.
    Raises HostError.
    """
    kept = {name: environment[name] for name in _KEPT if name in environment}
    kept |= {
        "LAB_BY_STACK": str(int(by_stack(environment))),
        "HOME": str(Path.home()),
        "LAB_OWNER_UID": str(os.getuid()),
        "LAB_OWNER_GID": str(os.getgid()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(_PROJECT),
    }
    command.become_root(["env", *(f"{n}={v}" for n, v in kept.items()), sys.executable, "-m", "host", driver, verb])
