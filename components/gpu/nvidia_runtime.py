"""Registers the NVIDIA runtime with the machine's container runtime; must be done before the cluster is made."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.host_command import host_command
from stacks.plan import NvidiaHostPlan, canonical


@dataclass(frozen=True)
class NvidiaRuntimeArgs:
    """What the machine is asked for."""

    stack: str
    plan: NvidiaHostPlan


class NvidiaRuntime(pulumi.ComponentResource):
    """Creates: the Command `python -m host nvidia ensure`.

    Does not: undo anything on destroy. Other containers of the machine may have come to need the runtime.
    """

    def __init__(self, name: str, args: NvidiaRuntimeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.NVIDIA_RUNTIME, name, {"runtime": args.plan.runtime}, opts)
        host_command(
            f"{name}-ensure",
            "nvidia",
            {"LAB_STACK": args.stack, "LAB_SPEC": canonical(args.plan)},
            destroy=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
