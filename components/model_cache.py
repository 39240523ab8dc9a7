"""The model cache."""

from __future__ import annotations

import pulumi

from components import types
from components.kubernetes_objects import Kubernetes
from components.manifests import model_cache
from stacks.planning.plan import ModelCachePlan


class ModelCache(pulumi.ComponentResource):
    """Creates: a StorageClass without provisioner, a local PersistentVolume on the cache folder, retained, and its
    claim.

    Does not: create or delete the folder or anything in it.
    """

    def __init__(
        self,
        name: str,
        plan: ModelCachePlan,
        kubernetes: Kubernetes,
        *,
        node: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(types.MODEL_CACHE, name, None, opts)
        storage_class = kubernetes.declare(f"{name}-class", model_cache.storage_class(), parent=self)
        volume = kubernetes.declare(
            f"{name}-volume", model_cache.persistent_volume(plan, node), parent=self, depends_on=[storage_class]
        )
        kubernetes.declare(f"{name}-claim", model_cache.persistent_volume_claim(plan), parent=self, depends_on=[volume])
        self.register_outputs({})
