"""The objects of a plan's models and of its model cache, by their names in the program, for either kind of cluster."""

from __future__ import annotations

from typing import Any

from components.serving import existing_manifests as existing
from components.serving import model_cache_manifests as model_cache
from components.serving import model_manifests as model
from stacks.plan import ClaimCachePlan, ExistingPlan, ModelPlan, Plan, PodsPlan

Named = list[tuple[str, dict[str, Any]]]


def engines(served: ModelPlan, plan: Plan, *, api_key_mark: str | None) -> Named:
    """One model's objects, but no endpoint; `api_key_mark` stands for a digest of the key, where there is one."""
    space = plan.kubernetes.namespace
    network, deployed = running(
        served,
        space,
        model.Pod.of(plan),
        pods=plan.cluster.pods if isinstance(plan.cluster, ExistingPlan) else None,
        hub_token=plan.hugging_face_token,
        api_key_mark=api_key_mark,
    )
    return [
        (f"{served.name}-account", model.service_account(served, space)),
        (f"{served.name}-network", network),
        (f"{served.name}-disruption", model.disruption_budget(served, space)),
        *((made["metadata"]["name"], made) for made in deployed),
        (f"{served.name}-service", model.service(served, space, cluster_ip=cluster_ip(served, plan))),
    ]


def running(
    served: ModelPlan,
    namespace: str,
    pod: model.Pod,
    *,
    pods: PodsPlan | None,
    hub_token: bool,
    api_key_mark: Any,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One model's NetworkPolicy and Deployments; with `pods` in somebody else's cluster."""
    if pods is None:
        network = model.network_policy(served, namespace, gateway=pod.gateway)
        return network, model.deployments(served, namespace, pod, api_key_mark=api_key_mark)
    deployed = existing.deployment(served, namespace, pod, pods=pods, hub_token=hub_token, api_key_mark=api_key_mark)
    return existing.network_policy(served, namespace), [deployed]


def cache(plan: Plan, home: str) -> Named:
    """The model cache: a claim of somebody else's storage, or a folder of the node; `home` is what a leading ~ means
    there.
    """
    kept, target = plan.model_cache, plan.kubernetes
    if isinstance(kept, ClaimCachePlan):
        return [("model-cache-claim", existing.claim(kept, target.namespace))]
    volume = model_cache.persistent_volume(kept, namespace=target.namespace, node=target.node, home=home)
    return [
        ("model-cache-class", model_cache.storage_class(kept)),
        ("model-cache-volume", volume),
        ("model-cache-claim", model_cache.persistent_volume_claim(kept, target.namespace)),
    ]


def cluster_ip(served: ModelPlan, plan: Plan) -> str | None:
    """The address of a model's Service, where the gateway needs a certain one."""
    backends = plan.gateway.backends if plan.gateway else ()
    return next((backend.cluster_ip for backend in backends if backend.model == served.name), None)
