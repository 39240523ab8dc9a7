"""Runs the real program for a stack, or for an edited copy of its configuration."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from host.system.machine import detected
from stacks import names
from stacks.plan import Plan
from stacks.planning.build import build_plan
from stacks.settings import PROJECT, SECRET_KEYS, Settings
from stacks.settings.stack_file import read_stack, stack_names
from tests.support.recording import Program, record
from tests.support.registrations import Record

ROOT = Path(__file__).resolve().parent.parent.parent
STACKS = stack_names(ROOT)
IN_DOCKER = [s for s in STACKS if read_stack(ROOT, s).own["cluster"]["driver"] == "docker"]
ON_KUBERNETES = [s for s in STACKS if s not in IN_DOCKER]
IN_A_NAMESPACE = [s for s in STACKS if read_stack(ROOT, s).own["cluster"]["driver"] == "existing"]
"""Stacks in a cluster that is somebody else's."""
BY_ENVOY_GATEWAY = [
    s for s in STACKS if read_stack(ROOT, s).own.get("gateway", {}).get("kind") in ("envoy-gateway", "aibrix")
]
"""Behind an Envoy that Envoy Gateway makes of objects of the Gateway API."""
WITH_A_PLUGIN = [s for s in STACKS if read_stack(ROOT, s).own.get("gateway", {}).get("kind") == "aibrix"]
"""Behind a gateway whose chart and routing plugin come from registries."""
BEHIND_A_GATEWAY = [s for s in STACKS if read_stack(ROOT, s).own.get("gateway", {}).get("kind", "none") != "none"]
"""Stacks whose clients have keys of their own, and whose models have no port."""
ON_PORTS = [s for s in ON_KUBERNETES if s not in BEHIND_A_GATEWAY]
"""Stacks on Kubernetes whose models have ports, and a key for all where they have one."""


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
    return build_plan(Settings.from_config(own, secret_keys=secrets, detected=detected()), stack=stack, secrets=secrets)


def preview(stack: str, edit: Callable[[dict[str, Any]], None] | None = None) -> Record:
    """What the program registers for the stack's edited configuration, its declared secrets taken as encrypted ones."""
    own = configuration(stack, edit)
    config = {f"{PROJECT}:{key}": value for key, value in own.items()}
    secret = frozenset(f"{PROJECT}:{key}" for key in SECRET_KEYS if key in own)
    return run(stack, {"pulumi:disable-default-providers": ["kubernetes"], **config}, secret)


def run(stack: str, config: Mapping[str, Any], secret_keys: frozenset[str] = frozenset()) -> Record:
    """What the program registers for a configuration as it stands below `config:` of a stack file."""
    told = {key: "" if value is None else value for key, value in config.items()}
    flat = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told.items()}
    return record(Program(ROOT / "__main__.py", PROJECT, stack, flat, secret_keys))


def tree(result: Record) -> list[str]:
    """`parent > type name`, a line each, sorted: what a rename or a move would change."""
    names = {s.urn: s.name for s in result.steps}
    return sorted(f"{names.get(s.parent, '')} > {s.type} {s.name}" for s in result.steps)


def deployments(made: Plan, models: int | None = None) -> list[str]:
    """The Deployments of the first so many models: one an engine where engines share a card."""
    return [
        names.engine_deployment(model.name, engine)
        for model in made.models[:models]
        for engine in range(model.replicas if made.shared_cards else 1)
    ]


def roomy(own: dict[str, Any]) -> None:
    """An edit: a machine with room for one model more, on a card of its own."""
    own["machine"] |= {"cpus": 64, "memoryGiB": 512}
    if own["machine"]["kind"] == "nvidia":
        own["machine"] |= {"gpus": own["machine"].get("gpus", 1) + 1, "platform": "linux"}
        own["machine"].pop("wslMemoryGiB", None)
        if "gpu" in own:  # engines that share: any of them may come to any card
            own["machine"]["gpu"] = "a100-80gb"
