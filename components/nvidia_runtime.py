"""The machine's container runtime learns to hand out GPUs; must be done before the cluster is made."""

from __future__ import annotations

import pulumi

from components import types
from components.host_command import host_command
from stacks.planning.plan import NvidiaPlan, canonical


class NvidiaRuntime(pulumi.ComponentResource):
    """Creates: the Command `python -m host nvidia ensure`.

    Does not: undo anything on destroy. Other containers of the machine may have come to need the runtime.
    """

    def __init__(self, name: str, plan: NvidiaPlan, *, stack: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.NVIDIA_RUNTIME, name, None, opts)
        host_command(
            f"{name}-ensure",
            "nvidia",
            {"LAB_STACK": stack, "LAB_SPEC": canonical(plan)},
            destroy=False,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
