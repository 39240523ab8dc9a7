"""Runs the real program for a stack, or for an edited copy of its configuration."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engine
from stacks.planning.build import build_plan
from stacks.planning.plan import Plan
from stacks.settings import PROJECT, SECRET_KEYS, Settings
from stacks.stack_file import read_stack, stack_names

ROOT = Path(__file__).resolve().parent.parent.parent
STACKS = stack_names(ROOT)


def configuration(stack: str, edit: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """The stack's own configuration map, edited."""
    own: dict[str, Any] = copy.deepcopy(dict(read_stack(ROOT, stack).own))
    if edit:
        edit(own)
    return own


def plan(stack: str, edit: Callable[[dict[str, Any]], None] | None = None) -> Plan:
    """The plan of the stack's edited configuration."""
    own = configuration(stack, edit)
    secrets = frozenset(SECRET_KEYS) & set(own)
    return build_plan(Settings.from_config(own, secret_keys=secrets), stack=stack, secrets=secrets)


def preview(stack: str, edit: Callable[[dict[str, Any]], None] | None = None, *, state: Path | None = None) -> engine.Preview:
    """What the program would do for the stack's edited configuration."""
    own = configuration(stack, edit)
    flat = {f"{PROJECT}:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in own.items()}
    flat["pulumi:disable-default-providers"] = '["kubernetes"]'
    secrets = frozenset(f"{PROJECT}:{k}" for k in SECRET_KEYS if k in own)
    program = engine.Program(project=PROJECT, stack=stack, root=ROOT, main=ROOT / "__main__.py")
    return engine.preview(program, engine.StackConfig(flat, secrets), state=state)


def tree(result: engine.Preview) -> list[str]:
    """`parent > type name`, a line each, sorted: what a rename or a move would change."""
    names = {s.urn: s.name for s in result.steps}
    return sorted(f"{names.get(s.parent, '')} > {s.type} {s.name}" for s in result.steps)
