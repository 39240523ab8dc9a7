"""The check that closes the loop: a model must answer before `up` is green."""

from __future__ import annotations

import json

import pulumi

from components import types
from components.host_command import probe_command
from stacks.planning.plan import Plan


class InferenceCheck(pulumi.ComponentResource):
    """Creates: a Command that asks each endpoint for a completion, again whenever the plan's digest changes.

    Does not: run when nothing changed; `lab up` runs the same probe itself then.
    """

    def __init__(
        self, name: str, plan: Plan, *, api_key: pulumi.Output[str] | None, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(types.INFERENCE_CHECK, name, None, opts)
        targets = [{"model": m.name, "endpoint": m.endpoint} for m in plan.models]
        environment: dict[str, pulumi.Input[str]] = {
            "LAB_STACK": plan.stack,
            "LAB_KUBECONFIG": plan.cluster.kubeconfig,
            "LAB_TARGETS": json.dumps(targets, separators=(",", ":"), sort_keys=True),
        }
        if api_key is not None:
            environment["LAB_API_KEY"] = api_key
        probe_command(
            f"{name}-run",
            "inference_check",
            environment,
            triggers=[plan.digest],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
