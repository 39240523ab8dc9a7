"""The wait for GPUs that the kubelet has heard of, before a pod asks for one."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.gpu.device_plugin_manifests import wait_environment
from components.host_command import waiting_command
from stacks.plan import Plan


@dataclass(frozen=True)
class AllocatableGpusArgs:
    """The stack whose pods will ask for GPUs."""

    plan: Plan


class AllocatableGpus(pulumi.ComponentResource):
    """Creates: a Command that waits until the node offers as many GPUs as the stack's pods ask for, at most as long as
    a device plugin takes to start; again whenever the plan's digest changes.

    Does not: wait in somebody else's cluster, where an autoscaler may add a node for a pod that waits.
    """

    def __init__(self, name: str, args: AllocatableGpusArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan = args.plan
        super().__init__(types.ALLOCATABLE_GPUS, name, {"gpus": plan.asked_gpus}, opts)
        opts = pulumi.ResourceOptions(parent=self)
        waiting_command(f"{name}-run", "allocatable_gpus", wait_environment(plan), opts=opts)
        self.register_outputs({})
