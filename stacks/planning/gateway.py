"""The gateway: settings, and the limits that follow from the models behind it."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from stacks import names
from stacks.plan import HostChange, ModelPlan, TargetPlan
from stacks.plan.cluster import DockerPlan, EmbeddedPlan, K3sPlan, KubernetesPlan, MinikubePlan
from stacks.plan.gateway import AffinityPlan, AliasPlan, AliasTargetPlan, GatewayPlan
from stacks.planning import aibrix
from stacks.planning import envoy_gateway as through
from stacks.planning.draft import Inputs, Notes
from stacks.planning.gateway_backends import backends
from stacks.planning.gateway_oidc import plan_oidc
from stacks.settings.gateway import (
    LOOPBACK,
    AIBrixGateway,
    EnvoyGateway,
    FrontGateway,
    GatewayApi,
    NamedModels,
    ThroughEnvoyGateway,
)

_MIB = 2**20
_BYTES_EACH_TOKEN = 6  # of text as JSON, escapes among it
_LEAST_BUFFER = 4 * _MIB
_RESPONSE_BUFFERS = (64 * 2**10, _MIB)  # at least a few chunks of a stream, at most Envoy's own default
_HEADER_KIB = 32
_BODIES = 16  # long bodies that are held at once before requests are refused
_OWN_MIB = 128  # Envoy itself: 65 MiB were measured under load
_CONNECTIONS = 1024
_BODY_SECONDS = 60
_IDLE_SECONDS = 600
_CLIENTS = 4  # at their full rate together


def plan_gateway(inputs: Inputs, cluster: TargetPlan, models: Sequence[ModelPlan], notes: Notes) -> GatewayPlan | None:
    """The slice; None where each model has a port of its own. Refuses it where it is not implemented."""
    asked = inputs.settings.gateway
    if not isinstance(asked, EnvoyGateway | GatewayApi | AIBrixGateway):
        return None
    controlled = isinstance(asked, ThroughEnvoyGateway)
    aliases, affinity = (asked.aliases, asked.affinity) if isinstance(asked, NamedModels) else ((), None)
    if said := _refusal(cluster, asked):
        notes.refuse(said)
        return None
    in_docker = isinstance(cluster, DockerPlan)
    port = asked.port or (8443 if in_docker else names.ENDPOINT_PORTS[-1])
    lan = asked.expose == "lan"
    _check_reach(inputs, cluster, asked, port, notes)
    if isinstance(asked, NamedModels):
        _check_tasks(models, asked, notes)
    # a batch of texts to embed may be as long as a step of the engine
    longest = max((max(m.engine.max_model_len, m.engine.max_num_batched_tokens) for m in models), default=0)
    buffer, response, memory = limits(longest)
    if isinstance(asked, AIBrixGateway) and asked.version == "0.5":
        buffer = _within_a_message(buffer, longest, notes)
    hosts = tuple(dict.fromkeys([*(asked.hosts if lan else (cluster.address,)), *LOOPBACK, *asked.hosts]))
    embedded = isinstance(cluster, EmbeddedPlan)
    image = inputs.catalog.images["envoy-embedded" if embedded else "envoy"]
    notes.decide(
        "gateway", asked.kind, "stated", "stack file",
        f"one /v1 for all models, {'for the whole network' if lan else f'on {cluster.address}'}, a key for each client",
    )  # fmt: skip
    if not image.digest:
        notes.decide("gateway.image", image.reference, "degraded", "catalogue", f"no digest: {image.digest_note}")
    if embedded and not controlled and affinity and any(model.replicas > 1 for model in models):
        reason = "this cluster has no DNS, so that the gateway sees one address for all replicas of a model"
        notes.decide("gateway.replicas", "not by session", "degraded", "the network of embedded", reason)
    if isinstance(asked, NamedModels):
        _decide_routes(asked, notes)
    notes.decide(
        "gateway.requestBuffer", f"{buffer / _MIB:g} MiB", "derived", "contextTokens, maxNumBatchedTokens",
        f"{longest} tokens of {_BYTES_EACH_TOKEN} bytes, at least {_LEAST_BUFFER // _MIB} MiB; longer bodies get 413",
    )  # fmt: skip
    notes.decide(
        "gateway.responseBuffer", f"{response / 1024:g} KiB", "derived", "contextTokens, maxNumBatchedTokens",
        "held of an answer that a client reads slowly, then the engine waits; streams are passed on as they come",
    )  # fmt: skip
    notes.decide(
        "gateway.memory", f"{memory} MiB", "derived", "gateway.requestBuffer",
        f"{_OWN_MIB} MiB and {_BODIES} bodies of that length; beyond it "
        f"{'Kubernetes starts Envoy again' if controlled else 'requests are refused with 503'}",
    )  # fmt: skip
    notes.decide(
        "gateway.requestsPerMinute", asked.requests_per_minute, "stated", "stack file",
        f"of each key; {_CLIENTS} times as many of all keys together; more get 429",
    )  # fmt: skip
    notes.decide(
        "gateway.timeouts", f"{_IDLE_SECONDS} s", "default", "the lab",
        f"a stream on which nothing moves for as long is ended; a request must arrive within {_BODY_SECONDS} s; "
        "answers may last as long as they stream",
    )  # fmt: skip
    if asked.tls == "off":
        notes.decide("gateway.tls", "off", "degraded", "stack file", "keys cross loopback in clear text")
    made = GatewayPlan(
        kind=asked.kind,
        image=image.reference,
        pull_policy=image.pull_policy,
        cluster_ip=names.embedded_service_address(cluster.slot, 0)
        if isinstance(cluster, EmbeddedPlan) and not controlled
        else None,
        address="0.0.0.0" if lan else cluster.address,  # noqa: S104  (asked for)
        port=port,
        tls=asked.tls,
        hosts=hosts,
        backends=backends(cluster, models, controlled=controlled),
        aliases=tuple(
            AliasPlan(
                name=alias.name,
                targets=tuple(AliasTargetPlan(model=target.model, weight=target.weight) for target in alias.models),
            )
            for alias in aliases
        ),
        affinity=AffinityPlan(by=affinity.by, name=affinity.name) if affinity else None,
        request_buffer_bytes=buffer,
        response_buffer_bytes=response,
        header_kib=_HEADER_KIB,
        connections=_CONNECTIONS,
        requests_per_minute=asked.requests_per_minute,
        total_requests_per_minute=_CLIENTS * asked.requests_per_minute,
        body_seconds=_BODY_SECONDS,
        idle_seconds=_IDLE_SECONDS,
        memory_mib=memory,
        oidc=plan_oidc(asked.oidc, cluster, notes) if isinstance(asked, EnvoyGateway) else None,
    )
    return _with_controller(made, inputs, cluster, models, asked, notes)


def _refusal(cluster: TargetPlan, asked: EnvoyGateway | GatewayApi | AIBrixGateway) -> str | None:
    """Why the driver cannot have this kind at all."""
    if isinstance(asked, AIBrixGateway) and isinstance(cluster, EmbeddedPlan):
        return (
            "gateway.kind aibrix on embedded: AIBrix' images come from a registry, which it does not reach. Write "
            "kind: envoy, or kind: envoy-gateway"
        )
    if isinstance(asked, GatewayApi | AIBrixGateway):
        return through.refusal(cluster, asked)
    if isinstance(cluster, DockerPlan | EmbeddedPlan | MinikubePlan | K3sPlan):
        return None
    return f"gateway.kind envoy on {cluster.driver}: not implemented in this version. Write kind: none"


def _with_controller(
    made: GatewayPlan,
    inputs: Inputs,
    cluster: TargetPlan,
    models: Sequence[ModelPlan],
    asked: EnvoyGateway | GatewayApi | AIBrixGateway,
    notes: Notes,
) -> GatewayPlan:
    """With Envoy Gateway and AIBrix, where the kind has them."""
    if isinstance(asked, EnvoyGateway):
        return made
    assert isinstance(cluster, KubernetesPlan)  # noqa: S101  (refused before)
    if isinstance(asked, GatewayApi):
        through.check_tasks(models, notes)
        own = through.plan_envoy_gateway(inputs, cluster, asked, made.memory_mib, notes)
        made = made.model_copy(update={"envoy_gateway": own})
        through.decide_sizes(made, notes)
        return made
    own, routing = aibrix.plan_aibrix(inputs, cluster, models, asked, made.memory_mib, notes)
    made = made.model_copy(update={"envoy_gateway": own, "aibrix": routing})
    through.decide_sizes(made, notes, beside=aibrix.compared(asked))
    return made


def _check_reach(inputs: Inputs, cluster: TargetPlan, asked: FrontGateway, port: int, notes: Notes) -> None:
    """Who asks with what, and at which port."""
    kind = inputs.settings.gateway.kind
    if "apiKey" in inputs.secrets:
        notes.refuse(
            "the secret apiKey is the key of models that have a port of their own; with gateway.kind "
            f"{kind} each client has a key of its own (./lab keys). Type: pulumi config rm apiKey"
        )
    if isinstance(cluster, DockerPlan):
        return
    if port not in names.ENDPOINT_PORTS:
        ports = f"{names.ENDPOINT_PORTS[0]} to {names.ENDPOINT_PORTS[-1]}"
        notes.refuse(f"gateway.port is {port}, and a cluster's node ports that the machine reaches are {ports}.")
    if asked.expose == "lan":
        notes.refuse(
            f"gateway.expose lan on {cluster.driver}: node ports are open on {cluster.address} only. "
            f"Write expose: loopback{', or driver: docker' if kind == 'envoy' else ''}"
        )


def _within_a_message(buffer: int, longest: int, notes: Notes) -> int:
    """The longest body that AIBrix 0.5 takes: its plugin gets each one as a message of gRPC."""
    most = aibrix.MESSAGE_LIMIT - aibrix.MESSAGE_SPARE
    if buffer <= most:
        return buffer
    if longest * _BYTES_EACH_TOKEN > most:
        notes.refuse(
            f"gateway.version 0.5: a request of {longest} tokens may have {longest * _BYTES_EACH_TOKEN} bytes, and its "
            f"plugin takes {most}. Write version: '0.7'"
        )
    return most


def limits(longest: int) -> tuple[int, int, int]:
    """For requests of `longest` tokens at most: the longest body and what is held of an answer, in bytes, and the
    memory in MiB.
    """
    buffer = max(_LEAST_BUFFER, longest * _BYTES_EACH_TOKEN)
    least, most = _RESPONSE_BUFFERS
    response = min(most, max(least, longest * _BYTES_EACH_TOKEN))
    return buffer, response, _OWN_MIB + ceil(_BODIES * buffer / _MIB)


def aliases_of(gateway: GatewayPlan, model: str) -> tuple[str, ...]:
    """The further names that the engine of `model` must take as its own."""
    return tuple(a.name for a in gateway.aliases if any(target.model == model for target in a.targets))


def _check_tasks(models: Sequence[ModelPlan], asked: NamedModels, notes: Notes) -> None:
    """A form with a file names its model in no JSON, and an alias asks all its models for the same."""
    speech = [model.name for model in models if model.task == "transcription"]
    if len(speech) > 1:
        notes.refuse(
            f"{' and '.join(speech)} transcribe speech: the gateway knows a model by the body's JSON, which a form "
            "with a file is not, so that one such model may be behind it; remove the others, or `gateway:`"
        )
    for alias in asked.aliases:
        tasks = sorted({model.task for model in models if model.name in {target.model for target in alias.models}})
        if len(tasks) > 1:
            notes.refuse(f"gateway.aliases: {alias.name} stands for models for {' and '.join(tasks)}; write one task's")


def _decide_routes(asked: NamedModels, notes: Notes) -> None:
    for alias in asked.aliases:
        total = sum(target.weight for target in alias.models)
        parts = ", ".join(f"{target.weight / total:.1%} {target.model}" for target in alias.models)
        notes.decide(f"gateway.alias.{alias.name}", parts, "stated", "stack file", "answers say which model it was")
    if asked.affinity:
        by = f"{asked.affinity.by} {asked.affinity.name}"
        reason = "requests of one session stay with one model of an alias and one of its replicas, while these stay"
        notes.decide("gateway.affinity", by, "stated", "stack file", reason)


def gateway_changes(gateway: GatewayPlan | None, cluster: TargetPlan) -> tuple[HostChange, ...]:
    """What the gateway does to the machine."""
    if gateway is None:
        return ()
    where = "every address of this machine" if gateway.address == "0.0.0.0" else gateway.address  # noqa: S104
    kept = "its keys and its authority are kept in the stack's state folder (0600)"
    if not isinstance(cluster, DockerPlan):
        what = f"the gateway listens on {where}, port {gateway.port}; engines have no port of the machine"
        changes = (HostChange(kind="network", what=what, root=False, note=kept),)
        release = through.release_change(gateway.envoy_gateway) if gateway.envoy_gateway else None
        return (*changes, release) if release else changes
    return (
        HostChange(
            kind="download",
            what=f"Docker pulls {gateway.image}, unless it has it",
            command=f"docker pull {gateway.image}",
            root=False,
        ),
        HostChange(
            kind="network",
            what=f"the gateway listens on {where}, port {gateway.port}; a network of its own for each engine",
            root=False,
            note=kept,
        ),
    )
