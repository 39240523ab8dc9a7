"""Where a gateway reaches the engines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from stacks import names
from stacks.plan import ModelPlan, TargetPlan
from stacks.plan.cluster import DockerPlan, EmbeddedPlan, KubernetesPlan
from stacks.plan.gateway import BackendPlan

_SERVICES = 192  # addresses for models' Services on the embedded cluster


def backends(cluster: TargetPlan, models: Sequence[ModelPlan], *, controlled: bool) -> tuple[BackendPlan, ...]:
    """Where each engine is. On a cluster with DNS each replica has an address of its own; on the embedded one without
    it each Service has a fixed address, by the model's name, so that a model more changes no other's unless they
    collide.
    """
    taken: set[int] = {0}
    found = []
    for model in models:
        address: str | None = None
        if isinstance(cluster, DockerPlan):
            host = names.container(cluster.name, model.name)
        elif isinstance(cluster, EmbeddedPlan) and not controlled:
            place = 1 + int(hashlib.sha256(model.name.encode()).hexdigest(), 16) % _SERVICES
            while place in taken:
                place = 1 + place % _SERVICES
            taken.add(place)
            host = address = names.embedded_service_address(cluster.slot, place)
        else:
            assert isinstance(cluster, KubernetesPlan)  # noqa: S101  (the caller saw to it)
            host = f"{model.name}.{cluster.namespace}.svc.cluster.local."
            address = None if controlled else "None"  # Envoy Gateway reads a Service's endpoints itself
        health = model.engine.health_path
        found.append(
            BackendPlan(
                model=model.name,
                host=host,
                port=names.HTTP_PORT,
                health_path=health,
                task=model.task,
                adapters=tuple(adapter.name for adapter in model.adapters),
                cluster_ip=address,
            )
        )
    return tuple(found)
