"""One served model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from components.serving import model_manifests as manifests
from components.serving.stack_manifests import running
from components.serving.weights import Weights
from stacks import names
from stacks.plan import ModelPlan, PodsPlan


@dataclass(frozen=True)
class BehindGateway:
    """`cluster_ip` is the address that the model's Service must have; None: any."""

    cluster_ip: str | None


@dataclass(frozen=True)
class ModelArgs:
    """`cache_path` is the model cache's folder on the machine, `pod` what all models' pods have alike; key and token
    are secrets. In somebody else's cluster there is no such folder, and `pods` says where its pods go. Behind a gateway
    the engine takes the gateway's key, and only the gateway reaches it.
    """

    plan: ModelPlan
    namespace: str
    cache_path: str | None
    pod: manifests.Pod
    pods: PodsPlan | None = None
    api_key: pulumi.Output[str] | None = None
    hugging_face_token: pulumi.Output[str] | None = None
    gateway: BehindGateway | None = None


class Model(KubernetesComponent):
    """Creates: the weights in the cache (a Command, or an init container), ServiceAccount, NetworkPolicy,
    PodDisruptionBudget, Deployment and Service.

    Does not: delete weights; the cache outlives the stack.
    """

    service_name: pulumi.Output[str]
    url: pulumi.Output[str]
    """The base URL inside the cluster."""

    def __init__(self, name: str, args: ModelArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan, space, key = args.plan, args.namespace, args.api_key
        super().__init__(types.MODEL, name, {"model": plan.name, "engine": plan.engine.name}, opts)
        mark = _mark(key) if key is not None else manifests.OF_THE_GATEWAY if args.gateway else None
        network, engines = running(
            plan,
            space,
            args.pod,
            pods=args.pods,
            hub_token=args.hugging_face_token is not None,
            api_key_mark=mark,
        )
        seconds = plan.lifecycle.timeout_seconds + (plan.lifecycle.download_seconds if args.pods else 0)
        weights: list[pulumi.Resource] = []
        if args.cache_path is not None:
            weights = Weights(plan.fetched, args.cache_path, args.hugging_face_token).declare(self)
        account = self.declare(f"{name}-account", manifests.service_account(plan, space))
        policy = self.declare(f"{name}-network", network)
        self.declare(f"{name}-disruption", manifests.disruption_budget(plan, space))
        made: list[pulumi.CustomResource] = []
        for manifest in engines:  # each after the one before it: see Pod
            after = [*weights, account, policy, *made[-1:]]
            deployment = manifest["metadata"]["name"]
            made.append(self.declare(deployment, manifest, depends_on=after, timeout_seconds=seconds))
        # A Service is awaited for endpoints, which only a ready Deployment has.
        cluster_ip = args.gateway.cluster_ip if args.gateway else None
        self.declare(f"{name}-service", manifests.service(plan, space, cluster_ip=cluster_ip), depends_on=made)
        self.service_name = pulumi.Output.from_input(plan.name)
        self.url = pulumi.Output.from_input(names.endpoint_url(f"{plan.name}.{space}", names.HTTP_PORT))
        self.register_outputs({"serviceName": self.service_name, "url": self.url})


def _mark(api_key: pulumi.Output[str]) -> pulumi.Output[str]:
    """Thirty-two bits of the key's digest: enough to see that it changed, too few to find it; a secret would hide the
    whole Deployment.
    """
    return pulumi.Output.unsecret(
        api_key.apply(lambda key: hashlib.sha256(f"local-ai-lab {key}".encode()).hexdigest()[:8])
    )
