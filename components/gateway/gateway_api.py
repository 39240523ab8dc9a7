"""A gateway whose Envoy is made by Envoy Gateway of Gateway API objects: kinds envoy-gateway and aibrix."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from components.gateway import gateway_parts_manifests as parts
from components.gateway.envoy_gateway_manifests import SECONDS, release
from components.gateway.envoy_kubernetes_manifests import secrets_spec
from components.host_command import host_command
from stacks.plan import EnvoyGatewayPlan, GatewayPlan, KubernetesPlan


@dataclass(frozen=True)
class GatewayApiArgs:
    """`epoch` goes up when the cluster is found dead, so that its Secrets are made again."""

    plan: GatewayPlan
    envoy_gateway: EnvoyGatewayPlan
    stack: str
    cluster: KubernetesPlan
    epoch: int


class GatewayApi(KubernetesComponent):
    """Creates: the Command that puts keys and certificate into Secrets of the namespace, Envoy Gateway in a namespace
    of its own (by Helm, or as objects of our own where no chart is to be had), AIBrix' routing plugin and Redis where
    the plan has them, and the Gateway API objects of the stack, each after the one before it, so that there is no route
    before what closes it.

    Does not: install the definitions of an embedded cluster, which come with it; AIBrix' controllers, webhooks,
    metadata service or optimizer; wait for models.
    """

    secrets: pulumi.Resource
    """What writes the Secrets; engines need one of them."""
    url: pulumi.Output[str]

    def __init__(self, name: str, args: GatewayApiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan, own, cluster = args.plan, args.envoy_gateway, args.cluster
        token = types.AIBRIX_GATEWAY if plan.aibrix else types.GATEWAY_API
        super().__init__(token, name, {"models": [b.model for b in plan.backends]}, opts)
        self.secrets = host_command(
            f"{name}-secrets",
            "gateway",
            {"LAB_STACK": args.stack, "LAB_SPEC": secrets_spec(plan, cluster), "LAB_EPOCH": str(args.epoch)},
            opts=pulumi.ResourceOptions(parent=self, deleted_with=self._deleted_with),
        )
        made: list[pulumi.Resource] = [self.secrets]
        for resource, manifest in parts.before_controller(plan, cluster.namespace, cluster.kubernetes):
            made.append(self.declare(resource, manifest, depends_on=list(made)))
        if told := release(own):
            made.append(self.release(told["name"], told, depends_on=list(made), timeout_seconds=2 * SECONDS))
        for resource, manifest in (*parts.controller(own), *parts.after_controller(plan, own, cluster.namespace)):
            made.append(self.declare(resource, manifest, depends_on=list(made)))
        self.url = pulumi.Output.from_input(plan.url)
        self.register_outputs({"url": self.url})
