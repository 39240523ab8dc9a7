"""The way in from the machine: for now a fixed port for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi

from components import types
from components.kubernetes_objects import Kubernetes
from components.manifests import model as manifests
from components.model import Model
from stacks.planning.plan import ModelPlan


class Gateway(pulumi.ComponentResource):
    """Creates: one NodePort Service for each model, on the port that the stack file gives it.

    Does not: route by model name, limit rates or terminate TLS.
    """

    def __init__(
        self,
        name: str,
        plans: Sequence[ModelPlan],
        models: Mapping[str, Model],
        kubernetes: Kubernetes,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(types.GATEWAY, name, None, opts)
        for plan in plans:
            kubernetes.declare(
                f"{plan.name}-endpoint",
                manifests.endpoint(plan),
                parent=self,
                depends_on=[models[plan.name].deployment],
            )
        self.register_outputs({"endpoints": {plan.name: plan.endpoint for plan in plans}})
