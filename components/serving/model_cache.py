"""The model cache."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components import types
from components.cluster.kubernetes_objects import KubernetesComponent
from components.serving import model_cache_manifests as manifests
from stacks.plan import ModelCachePlan


@dataclass(frozen=True)
class ModelCacheArgs:
    """`node` carries the folder, and `home` is what a leading ~ of its path means there."""

    plan: ModelCachePlan
    namespace: str
    node: str
    home: str


class ModelCache(KubernetesComponent):
    """Creates: a StorageClass without provisioner, a local PersistentVolume on the cache folder, retained, and its
    claim.

    Does not: create or delete the folder or anything in it.
    """

    claim_name: pulumi.Output[str]

    def __init__(self, name: str, args: ModelCacheArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan, space = args.plan, args.namespace
        super().__init__(types.MODEL_CACHE, name, {"path": plan.host_path}, opts)
        storage_class = self.declare(f"{name}-class", manifests.storage_class(plan))
        volume = self.declare(
            f"{name}-volume",
            manifests.persistent_volume(plan, namespace=space, node=args.node, home=args.home),
            depends_on=[storage_class],
        )
        self.declare(f"{name}-claim", manifests.persistent_volume_claim(plan, space), depends_on=[volume])
        self.claim_name = pulumi.Output.from_input(plan.name)
        self.register_outputs({"claimName": self.claim_name})
