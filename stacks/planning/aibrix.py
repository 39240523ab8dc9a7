"""A gateway of kind aibrix: which versions go together, what its routing reads, and which parts run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stacks.catalog.gateways import AIBrixEntry, Gateways, load_gateways
from stacks.plan import ModelPlan
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.cluster import KubernetesPlan
from stacks.plan.envoy_gateway import EnvoyGatewayPlan
from stacks.planning.draft import Inputs, Notes
from stacks.planning.envoy_gateway import plan_envoy_gateway, sized
from stacks.settings.gateway import AIBrixGateway

MESSAGE_LIMIT: Final = 4 * 2**20
"""Bytes of a gRPC message that the plugin takes by itself: grpc-go's default, which AIBrix 0.5 does not change."""

MESSAGE_SPARE: Final = 2**16
"""Of that, for what Envoy sends beside the body."""

_MESSAGE_SECONDS: Final = 10  # the plugin asks no engine before it answers; upstream waits for 60
_REASONS: Final = {
    "prometheus": "reads averages from a Prometheus, which this stack does not have",
    "optimizer": "reads profiles that AIBrix's optimizer writes, which is not installed",
    "roles": "needs pods for prefill and pods for decoding, which this stack does not have",
    "user": "shares by the header `user`, which clients may not send here",
}


def plan_aibrix(
    inputs: Inputs,
    cluster: KubernetesPlan,
    models: Sequence[ModelPlan],
    asked: AIBrixGateway,
    envoy_memory_mib: int,
    notes: Notes,
) -> tuple[EnvoyGatewayPlan, AIBrixPlan]:
    """Its slice and Envoy Gateway's; every mix that is not supported is refused with the nearest that is."""
    table, images = load_gateways(), inputs.catalog.images
    aibrix, size = table.aibrix[asked.version], sized(table)
    paths = (aibrix.paths.value, aibrix.rerank_paths.value)
    gateway = plan_envoy_gateway(
        inputs, cluster, asked, envoy_memory_mib, notes, supported=aibrix.envoy_gateways, paths=paths
    )
    _check_routing(table, aibrix, asked, models, notes)
    _check_tasks(models, aibrix, asked, notes)
    found = AIBrixPlan(
        release=aibrix.release.value,
        routing=asked.routing,
        plugin=size("gateway-plugins", images[aibrix.image].reference, None),
        redis=size("redis", images["redis"].reference, None),
        message_seconds=_MESSAGE_SECONDS,
        message_bytes_variable=aibrix.message_bytes_variable.value if aibrix.message_bytes_variable else None,
    )
    _decide(found, asked, aibrix, notes)
    plugin = images[aibrix.image]
    if not plugin.digest:
        notes.decide(
            "gateway.pluginImage", plugin.reference, "degraded", "catalogue", f"no digest: {plugin.digest_note}"
        )
    return gateway, found


def compared(asked: AIBrixGateway) -> str:
    """What the parts' sizes stand beside."""
    upstream = load_gateways().aibrix[asked.version]
    return (
        f"AIBrix' own release requests {upstream.upstream_cpu_millis.value}m and {upstream.upstream_memory_mib.value} "
        f"MiB, without Envoy Gateway ({upstream.upstream_cpu_millis.source})"
    )


def _check_routing(
    table: Gateways, aibrix: AIBrixEntry, asked: AIBrixGateway, models: Sequence[ModelPlan], notes: Notes
) -> None:
    """A strategy that would read nothing chooses as if all replicas were alike, in silence: it is refused."""
    strategy = aibrix.routing.get(asked.routing)
    works = ", ".join(name for name, other in aibrix.routing.items() if other.needs == "nothing")
    if strategy is None:
        also = [version for version, other in table.aibrix.items() if asked.routing in other.routing]
        notes.refuse(
            f"gateway.routing {asked.routing}: AIBrix {asked.version} does not have it. Write version: "
            f"'{also[0]}', or one of {works}"
        )
        return
    if reason := _REASONS.get(strategy.needs):
        notes.refuse(f"gateway.routing {asked.routing} {reason} ({strategy.ref}). It works without: {works}")
    if strategy.needs != "metric" or strategy.metric is None:
        return
    metric = table.metrics.get(strategy.metric)
    blind = [m for m in models if metric is None or not metric.is_in(m.engine_version)]
    if not blind:
        return
    engines = ", ".join(f"{m.name} (vLLM {m.engine_version})" for m in blind)
    other = _version_that_sees(table, asked, blind)
    nearest = f"Write version: '{other}', or one of {works}" if other else f"It works without: {works}"
    notes.refuse(
        f"gateway.routing {asked.routing} of AIBrix {asked.version} reads {strategy.metric}, which {engines} does not "
        f"show ({metric.ref if metric else strategy.ref}). {nearest}"
    )


def _version_that_sees(table: Gateways, asked: AIBrixGateway, models: Sequence[ModelPlan]) -> str | None:
    for version, other in table.aibrix.items():
        strategy = other.routing.get(asked.routing)
        metric = table.metrics.get(strategy.metric or "") if strategy else None
        if metric and all(metric.is_in(model.engine_version) for model in models):
            return version
    return None


def _check_tasks(models: Sequence[ModelPlan], aibrix: AIBrixEntry, asked: AIBrixGateway, notes: Notes) -> None:
    for model in models:
        if model.adapters:
            notes.refuse(
                f"{model.name} serves LoRA adapters, whose names this gateway does not lead to its engine. Write "
                "gateway.kind: envoy, or remove lora.modules"
            )
        if model.task == "transcription":
            notes.refuse(
                f"{model.name} transcribes speech: its requests are forms, in which this gateway finds no model. "
                "Write gateway.kind: envoy"
            )
        if model.task == "rerank" and not aibrix.rerank_paths.value:
            notes.refuse(
                f"{model.name} reranks, and AIBrix {asked.version} does not know such requests. Write version: '0.7', "
                "or gateway.kind: envoy"
            )


def _decide(plan: AIBrixPlan, asked: AIBrixGateway, aibrix: AIBrixEntry, notes: Notes) -> None:
    notes.decide(
        "gateway.verified", "never ran here", "degraded", "docs/adr/0014",
        "Envoy Gateway and objects like these ran, see docs/adr/0015; AIBrix' plugin, the chart and the whole together "
        "have not. Look at the Gateway's and the policies' conditions after `up`",
    )  # fmt: skip
    notes.decide(
        "gateway.aibrix", plan.release, "stated" if "version" in asked.model_fields_set else "default",
        aibrix.release.source,
        "its routing plugin and a Redis, without which the plugin does not start; no metadata service, optimizer, "
        "controller manager, webhooks or KubeRay",
    )  # fmt: skip
    notes.decide(
        "gateway.routing", plan.routing, "stated" if "routing" in asked.model_fields_set else "default",
        aibrix.routing[plan.routing].ref if plan.routing in aibrix.routing else "stack file",
        "between the replicas of a model, for all requests; clients cannot send another",
    )  # fmt: skip
