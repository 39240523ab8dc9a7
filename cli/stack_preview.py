"""Loads, plans and previews one stack: what `preview`, `validate` and `review` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stacks.catalog import load
from stacks.errors import LabError
from stacks.planning.build import build_plan
from stacks.planning.plan import Plan
from stacks.settings import PROJECT, SECRET_KEYS, Settings
from stacks.stack_file import StackConfig, read_stack

if TYPE_CHECKING:
    from engine import Preview, Step


@dataclass(frozen=True)
class StackPreview:
    """One stack: its plan and what the program would do."""

    stack: str
    plan: Plan
    preview: Preview


def load_plan(root: Path, stack: str, *, sharing_layer: bool = False) -> tuple[StackConfig, Plan]:
    """The configuration and the plan of `stack`; see `build_plan` for `sharing_layer`. Raises SettingsError, CatalogError or PlanError."""
    config = read_stack(root, stack)
    settings = Settings.from_config(config.own, file=config.file, secret_keys=config.own_secret_keys)
    secrets = frozenset(key for key in SECRET_KEYS if key in config.own)
    return config, build_plan(settings, stack=stack, secrets=secrets, catalog=load(root), sharing_layer=sharing_layer)


def preview_stack(root: Path, stack: str) -> StackPreview:
    """Runs the program in the embedded engine without touching anything.

    Raises what `load_plan` raises, and LabError with the engine's messages where the program itself failed.
    """
    config, plan = load_plan(root, stack)
    import engine  # it brings the Pulumi SDK, which a refused plan has no need to wait for

    program = engine.Program(project=PROJECT, stack=stack, root=root, main=root / "__main__.py")
    result = engine.preview(program, engine.StackConfig(config.flat, config.secret_keys))
    if not result.ok:
        messages = "\n".join(d.message for d in result.diagnostics if d.severity == "error")
        raise LabError(
            f"the program of stack {stack} failed in preview:\n{messages}", remedy="this is a defect of the lab; please report it"
        )
    return StackPreview(stack, plan, result)


def layered(steps: Sequence[Step]) -> list[Step]:
    """The steps in the order of layers, the way `up` would get to them; parents before children, equal layers by name."""
    level: dict[str, int] = {}
    for step in steps:  # dependencies come first in a preview's steps
        needs = {*step.dependencies, step.parent, step.provider.rpartition("::")[0]}
        level[step.urn] = 1 + max((level[urn] for urn in needs if urn in level), default=0)
    parents = {step.urn: step.parent for step in steps}
    place: dict[str, int] = {}
    for step in steps:
        urn = step.urn if step.custom else ""
        while urn:  # a component stands where its first own resource does
            place[urn] = min(place.get(urn, level[step.urn]), level[step.urn])
            urn = parents.get(urn, "")
    depth: dict[str, int] = {}
    for step in steps:
        depth[step.urn] = depth.get(step.parent, 0) + 1
    return sorted(steps, key=lambda step: (depth[step.urn], place.get(step.urn, 0), step.name))
