"""The way in from the machine: a gateway for all models, or a fixed port for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from components.gateway import envoy_kubernetes_manifests as envoy
from components.host_command import host_command
from components.serving import model_manifests as manifests
from stacks.plan import GatewayPlan, KubernetesPlan, ModelPlan


@dataclass(frozen=True)
class GatewayArgs:
    """The models to reach, and their namespace."""

    models: Sequence[ModelPlan]
    namespace: str


class Gateway(KubernetesComponent):
    """Creates: one NodePort Service for each model, on the port that the stack file gives it. Its `depends_on` are the
    models: a Service is awaited for endpoints.

    Does not: route by model name, limit rates or terminate TLS.
    """

    urls: pulumi.Output[Mapping[str, str]]
    """Base URL by model name."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.GATEWAY, name, {"models": [plan.name for plan in args.models]}, opts)
        for plan in args.models:
            self.declare(f"{plan.name}-endpoint", manifests.endpoint(plan, args.namespace))
        self.urls = pulumi.Output.from_input({plan.name: plan.endpoint for plan in args.models})
        self.register_outputs({"urls": self.urls})


@dataclass(frozen=True)
class EnvoyGatewayArgs:
    """`epoch` goes up when the cluster is found dead, so that its Secrets are made again."""

    plan: GatewayPlan
    stack: str
    cluster: KubernetesPlan
    epoch: int


class EnvoyGateway(KubernetesComponent):
    """Creates: the Command that puts keys and certificate into Secrets of the namespace, ConfigMap, ServiceAccount,
    NetworkPolicy, Deployment and NodePort Service of one Envoy with a fixed configuration.

    Does not: wait for models; it answers 503 until they serve.
    """

    secrets: pulumi.Resource
    """What writes the Secrets; engines need one of them."""
    url: pulumi.Output[str]

    def __init__(self, name: str, args: EnvoyGatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.ENVOY_GATEWAY, name, {"models": [b.model for b in args.plan.backends]}, opts)
        environment = {"LAB_STACK": args.stack, "LAB_SPEC": envoy.secrets_spec(args.plan, args.cluster)}
        self.secrets = host_command(
            f"{name}-secrets",
            "gateway",
            {**environment, "LAB_EPOCH": str(args.epoch)},
            opts=pulumi.ResourceOptions(parent=self, deleted_with=self._deleted_with),
        )
        made: list[pulumi.Resource] = [self.secrets]
        for resource, manifest in envoy.objects(args.plan, args.cluster.namespace):
            made.append(self.declare(resource, manifest, depends_on=list(made)))
        self.url = pulumi.Output.from_input(args.plan.url)
        self.register_outputs({"url": self.url})
