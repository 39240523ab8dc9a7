"""The check that closes the loop: a model must answer before `up` is green."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi

from components import types
from components.host_command import probe_command
from stacks.plan import Plan


@dataclass(frozen=True)
class InferenceCheckArgs:
    """The stack to ask; `api_key` is a secret."""

    plan: Plan
    api_key: pulumi.Output[str] | None = None


class InferenceCheck(pulumi.ComponentResource):
    """Creates: a Command that asks each endpoint for what its model is for, again whenever the plan's digest changes.

    Does not: run when nothing changed; `lab up` runs the same probe itself then.
    """

    def __init__(self, name: str, args: InferenceCheckArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan = args.plan
        super().__init__(types.INFERENCE_CHECK, name, {"models": [m.name for m in plan.models]}, opts)
        targets = [m.target for m in plan.models]
        environment: dict[str, pulumi.Input[str]] = {
            "LAB_STACK": plan.stack,
            **plan.where,
            "LAB_TARGETS": json.dumps(targets, separators=(",", ":"), sort_keys=True),
        }
        if args.api_key is not None:
            environment["LAB_API_KEY"] = args.api_key
        probe_command(
            f"{name}-run",
            "inference_check",
            environment,
            triggers=[plan.digest],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
