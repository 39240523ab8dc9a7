"""Envoy Gateway: which version goes with what, which parts run, and what they take of the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stacks.catalog.gateways import EnvoyGatewayEntry, Gateways, load_gateways
from stacks.catalog.schema import Fact
from stacks.plan import HostChange, ModelPlan, TargetPlan
from stacks.plan.cluster import DockerPlan, EmbeddedPlan, ExistingPlan, K3sPlan, KubernetesPlan
from stacks.plan.envoy_gateway import EnvoyGatewayPlan, PodSizePlan
from stacks.plan.gateway import PATHS, RERANK_PATHS, GatewayPlan
from stacks.planning.draft import Inputs, Kind, Notes
from stacks.settings.gateway import AIBrixGateway, GatewayApi

Sized = Callable[[str, str, int | None], PodSizePlan]
"""A part, its image and its limit where the plan computes it -> its size."""


def refusal(cluster: TargetPlan, asked: GatewayApi | AIBrixGateway) -> str | None:
    """Why the cluster cannot have Envoy Gateway, with the setting that works; None where it can."""
    kind = asked.kind
    if isinstance(cluster, DockerPlan):
        return f"gateway.kind {kind} on docker: it has no Kubernetes. Write kind: envoy"
    if isinstance(cluster, ExistingPlan):
        return (
            f"gateway.kind {kind} on existing: Envoy Gateway needs resource definitions, a GatewayClass and roles of "
            "the whole cluster, and nothing is changed there outside of the stack's namespace. Write kind: none"
        )
    return None


def plan_envoy_gateway(
    inputs: Inputs,
    cluster: KubernetesPlan,
    asked: GatewayApi | AIBrixGateway,
    envoy_memory_mib: int,
    notes: Notes,
    *,
    supported: Fact[tuple[str, ...]] | None = None,
    paths: tuple[tuple[str, ...], tuple[str, ...]] = (PATHS, RERANK_PATHS),
) -> EnvoyGatewayPlan:
    """The slice; a version that is not supported is refused with the nearest that is. `supported` are the versions that
    what uses it goes with, None: all that are known; `paths` are what clients may POST, and the same for reranking.
    """
    table, images, embedded = load_gateways(), inputs.catalog.images, isinstance(cluster, EmbeddedPlan)
    version = _version(table, asked, supported, notes)
    entry = table.envoy_gateways[version]
    _check_kubernetes(cluster, version, entry, notes)
    if embedded and asked.chart:
        notes.refuse(
            "gateway.chart on embedded: its Envoy Gateway is built from its Go module, without a chart. Remove the line"
        )
    controller = images[entry.embedded_image if embedded else entry.image].reference
    size = sized(table)
    found = EnvoyGatewayPlan(
        version=version,
        chart=None if embedded else asked.chart or entry.chart.value,
        chart_version=entry.chart_version.value,
        controller=size("envoy-gateway", controller, None),
        shutdown_manager=size("shutdown-manager", controller, None),
        envoy=size(
            "envoy", images[entry.embedded_proxy_image if embedded else entry.proxy_image].reference, envoy_memory_mib
        ),
        paths=paths[0],
        rerank_paths=paths[1],
    )
    source = supported.source if supported else entry.chart_version.source
    how = f"chart {found.chart} {found.chart_version}" if found.chart else "built from its Go module, no chart"
    notes.decide(
        "gateway.envoyGateway", version, "stated" if asked.envoy_gateway else "default", source,
        f"{how}, Gateway API {entry.gateway_api.value}, until {entry.end_of_life.value}"
        f"{'; no digest of the chart is known' if found.chart else ''}",
    )  # fmt: skip
    if isinstance(cluster, K3sPlan) and "traefik" in inputs.settings.cluster.keep:  # type: ignore[union-attr]
        reason = "K3s' Traefik brings definitions of the Gateway API too, and Helm leaves those that are there"
        notes.decide("gateway.api", "Traefik's", "degraded", "cluster.keep", reason)
    if isinstance(asked, GatewayApi) and not embedded:
        notes.decide(
            "gateway.verified", f"not on {cluster.driver}", "degraded", "docs/adr/0015",
            "the same objects ran on the embedded cluster with this Envoy Gateway; its chart was never installed here",
        )  # fmt: skip
    return found


def sized(table: Gateways) -> Sized:
    """How large a part is, by the catalogue."""

    def size(part: str, image: str, limit: int | None) -> PodSizePlan:
        fact = table.sizes[part]
        most = limit if fact.memory_limit_mib is None else fact.memory_limit_mib.value
        return PodSizePlan(
            part=part,
            image=image,
            cpu_millis=fact.cpu_millis.value,
            memory_request_mib=fact.memory_request_mib.value,
            memory_limit_mib=most or 0,
        )

    return size


def decide_sizes(plan: GatewayPlan, notes: Notes, *, beside: str = "controller, Envoy and what ends it") -> None:
    """Every part, and the sum; `beside` says what of it a reader should know."""
    table = load_gateways()
    for part in plan.parts:
        fact = table.sizes[part.part]
        limit = fact.memory_limit_mib
        taken = f"{part.cpu_millis}m, {part.memory_request_mib} to {part.memory_limit_mib} MiB"
        most = f"limit: {limit.source if limit else 'gateway.memory'}"
        kind: Kind = "default" if limit else "derived"
        notes.decide(f"gateway.size.{part.part}", taken, kind, fact.memory_request_mib.source, most)
    requested = sum(part.memory_request_mib for part in plan.parts)
    notes.decide(
        "gateway.sizes", f"{plan.cpu_millis}m, {requested} MiB requested, at most {plan.node_memory_mib} MiB",
        "derived", "the sum of its parts", beside,
    )  # fmt: skip


def check_tasks(models: Sequence[ModelPlan], notes: Notes) -> None:
    """A form with a file names its model in no JSON, and no route of the Gateway API bounds one by its length."""
    for model in models:
        if model.task == "transcription":
            notes.refuse(
                f"{model.name} transcribes speech: its requests are forms, in which this gateway finds no model. "
                "Write gateway.kind: envoy"
            )


def release_change(plan: EnvoyGatewayPlan) -> HostChange | None:
    """What is fetched for it; nothing where it is built here."""
    if plan.chart is None:
        return None
    chart = f"Helm installs Envoy Gateway {plan.version} into the cluster, from {plan.chart}"
    return HostChange(kind="download", what=chart, root=False)


def _version(
    table: Gateways, asked: GatewayApi | AIBrixGateway, supported: Fact[tuple[str, ...]] | None, notes: Notes
) -> str:
    known = supported.value if supported else tuple(table.envoy_gateways)
    wanted = asked.envoy_gateway or known[-1]
    if wanted in known:
        return wanted
    nearest = table.nearest(wanted, known)
    if table.is_vulnerable(wanted):
        fixed = table.vulnerable.fixed_in
        why = f"has a known hole ({fixed.ref}; mended in {' and '.join(fixed.value)}) and is never installed"
    elif supported and isinstance(asked, AIBrixGateway):
        why = f"is not known to work with AIBrix {asked.version} ({supported.source})"
    else:
        why = "is not one whose objects are known"
    notes.refuse(f"gateway.envoyGateway {wanted} {why}. The nearest that works: {nearest}")
    return nearest


def _check_kubernetes(cluster: KubernetesPlan, version: str, entry: EnvoyGatewayEntry, notes: Notes) -> None:
    minor = ".".join(cluster.kubernetes.removeprefix("v").split(".")[:2])
    if minor not in entry.kubernetes.value:
        known = entry.kubernetes.value
        nearest = min(known, key=lambda other: abs(int(other.split(".")[1]) - int(minor.split(".")[1])))
        notes.refuse(
            f"Envoy Gateway {version} runs on Kubernetes {', '.join(known)} ({entry.kubernetes.source}), and "
            f"{cluster.driver} has {cluster.kubernetes}; the nearest is {nearest}. Write gateway.kind: envoy"
        )
