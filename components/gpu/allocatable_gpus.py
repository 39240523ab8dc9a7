"""The wait for GPUs that the kubelet has heard of, before a pod asks for one."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
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
        waiting_command(
            f"{name}-run",
            "allocatable_gpus",
            {
                "LAB_STACK": plan.stack,
                "LAB_KUBECONFIG": plan.kubernetes.kubeconfig,
                "LAB_NAMESPACE": plan.kubernetes.namespace,
                "LAB_GPUS": str(plan.asked_gpus),
                "LAB_DIGEST": plan.digest,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})
