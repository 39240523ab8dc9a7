"""A stack file's configuration and plan: what every command begins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from host.system.machine import detected
from stacks import measured
from stacks.catalog import load
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.settings import SECRET_KEYS, Settings
from stacks.settings.stack_file import StackConfig, read_stack

REFERENCE_MACHINE: Final[Mapping[str, int]] = {"memoryGiB": 16, "cpus": 4}
"""What a pull request's comment assumes where a stack file leaves it to the machine: not what the reviewer has."""


def load_plan(root: Path, stack: str, *, machine: Mapping[str, int] | None = None) -> tuple[StackConfig, Plan]:
    """The configuration and the plan of `stack`. `machine` stands for what this machine has where the stack file leaves
    that out. Raises SettingsError, CatalogError or PlanError.
    """
    config = read_stack(root, stack)
    settings = Settings.from_config(
        config.own, file=config.file, secret_keys=config.own_secret_keys, detected=machine or detected()
    )
    secrets = frozenset(key for key in SECRET_KEYS if key in config.own)
    return config, build_plan(
        settings,
        stack=stack,
        secrets=secrets,
        catalog=load(root),
        measured=measured.read(root, stack),
    )
