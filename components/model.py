"""One served model."""

from __future__ import annotations

import hashlib

import pulumi

from components import types
from components.host_command import host_command
from components.kubernetes_objects import Kubernetes
from components.manifests import model as manifests
from stacks.planning.plan import ModelCachePlan, ModelPlan, canonical


class Model(pulumi.ComponentResource):
    """Creates: the weights in the cache (a Command), ServiceAccount, NetworkPolicy, PodDisruptionBudget, Deployment and
    Service.

    Does not: delete weights; the cache outlives the stack.
    """

    def __init__(
        self,
        name: str,
        plan: ModelPlan,
        cache: ModelCachePlan,
        kubernetes: Kubernetes,
        *,
        api_key: pulumi.Output[str] | None,
        hugging_face_token: pulumi.Output[str] | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(types.MODEL, name, None, opts)
        environment: dict[str, pulumi.Input[str]] = {"LAB_SPEC": canonical(plan.weights), "LAB_CACHE": cache.host_path}
        if hugging_face_token is not None:
            environment["HF_TOKEN"] = hugging_face_token
        weights = host_command(
            f"{name}-weights", "models", environment, destroy=False, opts=pulumi.ResourceOptions(parent=self)
        )
        account = kubernetes.declare(f"{name}-account", manifests.service_account(plan), parent=self)
        policy = kubernetes.declare(f"{name}-network", manifests.network_policy(plan), parent=self)
        kubernetes.declare(f"{name}-disruption", manifests.disruption_budget(plan), parent=self)
        self.deployment = kubernetes.declare(
            name,
            manifests.deployment(plan, claim=cache.name, api_key_mark=None if api_key is None else _mark(api_key)),
            parent=self,
            depends_on=[weights, account, policy],
            timeout_seconds=plan.lifecycle.timeout_seconds,
        )
        # A Service is awaited for endpoints, which only a ready Deployment has.
        kubernetes.declare(f"{name}-service", manifests.service(plan), parent=self, depends_on=[self.deployment])
        self.register_outputs({"endpoint": plan.endpoint})


def _mark(api_key: pulumi.Output[str]) -> pulumi.Output[str]:
    """Thirty-two bits of the key's digest: enough to see that it changed, too few to find it; a secret would hide the
    whole Deployment.
    """
    return pulumi.Output.unsecret(
        api_key.apply(lambda key: hashlib.sha256(f"local-ai-lab {key}".encode()).hexdigest()[:8])
    )
