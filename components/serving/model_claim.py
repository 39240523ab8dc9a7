"""The model cache of a stack in somebody else's cluster."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from components.serving import existing_manifests as manifests
from stacks.plan import ClaimCachePlan


@dataclass(frozen=True)
class ModelClaimArgs:
    """The claim, in the stack's own namespace."""

    plan: ClaimCachePlan
    namespace: str


class ModelClaim(KubernetesComponent):
    """Creates: a PersistentVolumeClaim.

    Does not: make a StorageClass or a volume, or fill the claim; the pods of the models do.
    """

    claim_name: pulumi.Output[str]

    def __init__(self, name: str, args: ModelClaimArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.MODEL_CLAIM, name, {"claim": args.plan.name}, opts)
        self.declare(f"{name}-claim", manifests.claim(args.plan, args.namespace))
        self.claim_name = pulumi.Output.from_input(args.plan.name)
        self.register_outputs({"claimName": self.claim_name})
