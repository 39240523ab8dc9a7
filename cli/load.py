"""A stack file's configuration and plan: what every command begins with."""

from __future__ import annotations

from pathlib import Path

from stacks.catalog import load
from stacks.planning.build import build_plan
from stacks.planning.plan import Plan
from stacks.settings import SECRET_KEYS, Settings
from stacks.stack_file import StackConfig, read_stack


def load_plan(root: Path, stack: str, *, sharing_layer: bool = False) -> tuple[StackConfig, Plan]:
    """The configuration and the plan of `stack`; see `build_plan` for `sharing_layer`. Raises SettingsError,
    CatalogError or PlanError.
    """
    config = read_stack(root, stack)
    settings = Settings.from_config(config.own, file=config.file, secret_keys=config.own_secret_keys)
    secrets = frozenset(key for key in SECRET_KEYS if key in config.own)
    return config, build_plan(settings, stack=stack, secrets=secrets, catalog=load(root), sharing_layer=sharing_layer)
