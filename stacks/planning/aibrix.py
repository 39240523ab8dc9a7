"""A gateway of kind aibrix: which versions go together, which parts run, and what they take of the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stacks.catalog.gateways import AIBrixEntry, EnvoyGatewayEntry, Gateways, load_gateways
from stacks.plan import ModelPlan, TargetPlan
from stacks.plan.aibrix import AIBrixPlan, EnvoyGatewayPlan, PodSizePlan
from stacks.plan.cluster import DockerPlan, EmbeddedPlan, ExistingPlan, K3sPlan, KubernetesPlan
from stacks.planning.draft import Inputs, Kind, Notes
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


def refusal(cluster: TargetPlan) -> str | None:
    """Why the cluster cannot have this kind, with the setting that works; None where it can."""
    if isinstance(cluster, DockerPlan | EmbeddedPlan):
        lacks = "Kubernetes" if isinstance(cluster, DockerPlan) else "cluster DNS, by which Envoy finds its controller"
        return f"gateway.kind aibrix on {cluster.driver}: it has no {lacks}. Write kind: envoy"
    if isinstance(cluster, ExistingPlan):
        return (
            "gateway.kind aibrix on existing: Envoy Gateway needs resource definitions, a GatewayClass and roles of "
            "the whole cluster, and nothing is changed there outside of the stack's namespace. Write kind: none"
        )
    return None


def plan_aibrix(
    inputs: Inputs,
    cluster: KubernetesPlan,
    models: Sequence[ModelPlan],
    asked: AIBrixGateway,
    envoy_memory_mib: int,
    notes: Notes,
) -> AIBrixPlan:
    """The slice; every mix that is not supported is refused with the nearest that is."""
    table = load_gateways()
    aibrix = table.aibrix[asked.version]
    version = _envoy_gateway(table, aibrix, asked, notes)
    gateway = table.envoy_gateways[version]
    _check_kubernetes(cluster, version, gateway, notes)
    _check_routing(table, aibrix, asked, models, notes)
    _check_tasks(models, aibrix, asked, notes)
    images = inputs.catalog.images
    controller = images[gateway.image].reference

    def size(part: str, image: str, limit: int | None = None) -> PodSizePlan:
        fact = table.sizes[part]
        most = limit if fact.memory_limit_mib is None else fact.memory_limit_mib.value
        return PodSizePlan(
            part=part,
            image=image,
            cpu_millis=fact.cpu_millis.value,
            memory_request_mib=fact.memory_request_mib.value,
            memory_limit_mib=most or 0,
        )

    found = AIBrixPlan(
        release=aibrix.release.value,
        routing=asked.routing,
        envoy_gateway=EnvoyGatewayPlan(
            version=version,
            chart=asked.chart or gateway.chart.value,
            chart_version=gateway.chart_version.value,
            controller=size("envoy-gateway", controller),
            shutdown_manager=size("shutdown-manager", controller),
        ),
        envoy=size("envoy", images[gateway.proxy_image].reference, envoy_memory_mib),
        plugin=size("gateway-plugins", images[aibrix.image].reference),
        redis=size("redis", images["redis"].reference),
        paths=aibrix.paths.value,
        rerank_paths=aibrix.rerank_paths.value,
        message_seconds=_MESSAGE_SECONDS,
        message_bytes_variable=aibrix.message_bytes_variable.value if aibrix.message_bytes_variable else None,
    )
    _decide(found, asked, aibrix, gateway, table, notes)
    if isinstance(cluster, K3sPlan) and "traefik" in inputs.settings.cluster.keep:  # type: ignore[union-attr]
        reason = "K3s' Traefik brings definitions of the Gateway API too, and Helm leaves those that are there"
        notes.decide("gateway.api", "Traefik's", "degraded", "cluster.keep", reason)
    for part, image in (("plugin", aibrix.image),):
        if not images[image].digest:
            reason = f"no digest: {images[image].digest_note}"
            notes.decide(f"gateway.{part}Image", images[image].reference, "degraded", "catalogue", reason)
    return found


def _envoy_gateway(table: Gateways, aibrix: AIBrixEntry, asked: AIBrixGateway, notes: Notes) -> str:
    supported = aibrix.envoy_gateways.value
    wanted = asked.envoy_gateway or supported[-1]
    if wanted in supported:
        return wanted
    nearest = table.nearest(wanted, supported)
    if table.is_vulnerable(wanted):
        fixed = table.vulnerable.fixed_in
        why = f"has a known hole ({fixed.ref}; mended in {' and '.join(fixed.value)}) and is never installed"
    else:
        why = f"is not known to work with AIBrix {asked.version} ({aibrix.envoy_gateways.source})"
    notes.refuse(f"gateway.envoyGateway {wanted} {why}. The nearest that works: {nearest}")
    return nearest


def _check_kubernetes(cluster: KubernetesPlan, version: str, gateway: EnvoyGatewayEntry, notes: Notes) -> None:
    minor = ".".join(cluster.kubernetes.removeprefix("v").split(".")[:2])
    if minor not in gateway.kubernetes.value:
        supported = gateway.kubernetes.value
        nearest = min(supported, key=lambda other: abs(int(other.split(".")[1]) - int(minor.split(".")[1])))
        notes.refuse(
            f"Envoy Gateway {version} runs on Kubernetes {', '.join(supported)} ({gateway.kubernetes.source}), and "
            f"{cluster.driver} has {cluster.kubernetes}; the nearest is {nearest}. Write gateway.kind: envoy"
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


def _decide(
    plan: AIBrixPlan,
    asked: AIBrixGateway,
    aibrix: AIBrixEntry,
    gateway: EnvoyGatewayEntry,
    table: Gateways,
    notes: Notes,
) -> None:
    own = plan.envoy_gateway
    notes.decide(
        "gateway.verified", "never ran here", "degraded", "docs/adr/0014",
        "its objects are checked against the definitions of Envoy Gateway and Gateway API; AIBrix' plugin, the chart "
        "and the whole together have not been run. Look at the Gateway's and the policies' conditions after `up`",
    )  # fmt: skip
    notes.decide(
        "gateway.envoyGateway", own.version, "stated" if asked.envoy_gateway else "default",
        aibrix.envoy_gateways.source,
        f"chart {own.chart} {own.chart_version}, Gateway API {gateway.gateway_api.value}, until "
        f"{gateway.end_of_life.value}; no digest of the chart is known",
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
    for part in plan.parts:
        fact = table.sizes[part.part]
        limit = fact.memory_limit_mib
        taken = f"{part.cpu_millis}m, {part.memory_request_mib} to {part.memory_limit_mib} MiB"
        most = f"limit: {limit.source if limit else 'gateway.memory'}"
        kind: Kind = "default" if limit else "derived"
        notes.decide(f"gateway.size.{part.part}", taken, kind, fact.memory_request_mib.source, most)
    notes.decide(
        "gateway.sizes",
        f"{plan.cpu_millis}m, {plan.memory_request_mib} MiB requested, at most {plan.memory_limit_mib} MiB",
        "derived", "the sum of its parts",
        f"AIBrix' own release requests {aibrix.upstream_cpu_millis.value}m and {aibrix.upstream_memory_mib.value} MiB, "
        f"without Envoy Gateway ({aibrix.upstream_cpu_millis.source})",
    )  # fmt: skip
