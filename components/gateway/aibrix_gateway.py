"""A gateway of kind aibrix."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from components.gateway import aibrix_gateway_manifests as manifests
from components.gateway.envoy_gateway_manifests import SECONDS, release
from components.gateway.envoy_kubernetes_manifests import secrets_spec
from components.host_command import host_command
from stacks.plan import AIBrixPlan, GatewayPlan, KubernetesPlan


@dataclass(frozen=True)
class AIBrixGatewayArgs:
    """`epoch` goes up when the cluster is found dead, so that its Secrets are made again."""

    plan: GatewayPlan
    aibrix: AIBrixPlan
    stack: str
    cluster: KubernetesPlan
    epoch: int


class AIBrixGateway(KubernetesComponent):
    """Creates: the Command that puts keys and certificate into Secrets of the namespace, Envoy Gateway by Helm in a
    namespace of its own, AIBrix' routing plugin and Redis, and the Gateway API objects of the stack, each after the one
    before it, so that there is no route before what closes it.

    Does not: install AIBrix' controllers, webhooks, metadata service or optimizer; wait for models.
    """

    secrets: pulumi.Resource
    """What writes the Secrets; engines need one of them."""
    url: pulumi.Output[str]

    def __init__(self, name: str, args: AIBrixGatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan, cluster = args.plan, args.cluster
        super().__init__(types.AIBRIX_GATEWAY, name, {"models": [b.model for b in plan.backends]}, opts)
        self.secrets = host_command(
            f"{name}-secrets",
            "gateway",
            {"LAB_STACK": args.stack, "LAB_SPEC": secrets_spec(plan, cluster), "LAB_EPOCH": str(args.epoch)},
            opts=pulumi.ResourceOptions(parent=self, deleted_with=self._deleted_with),
        )
        made: list[pulumi.Resource] = [self.secrets]
        for resource, manifest in manifests.before_release(plan, cluster.namespace, cluster.kubernetes):
            made.append(self.declare(resource, manifest, depends_on=list(made)))
        controller = release(args.aibrix.envoy_gateway)
        made.append(self.release(controller["name"], controller, depends_on=list(made), timeout_seconds=2 * SECONDS))
        for resource, manifest in manifests.after_release(plan, args.aibrix, cluster.namespace):
            made.append(self.declare(resource, manifest, depends_on=list(made)))
        self.url = pulumi.Output.from_input(plan.url)
        self.register_outputs({"url": self.url})
