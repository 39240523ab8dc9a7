"""How clients reach the models: one class for each kind of gateway, and their union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from stacks.errors import shown
from stacks.settings.base import DnsLabel, Intent, text_of
from stacks.settings.gateway_oidc import Oidc
from stacks.settings.problems import Fault

HostName = Annotated[
    str,
    text_of(
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "name or IPv4 address, such as lab.home.arpa or 192.168.1.20",
        max_length=253,
    ),
]
LOOPBACK = ("127.0.0.1", "localhost")
_HEADERS_WITH_A_MEANING = (
    "authorization", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding", "user",
    "x-client-id", "x-model", "x-model-status", "x-request-id",
)  # fmt: skip


class NoGateway(Intent):
    """Each model has a port of its own."""

    kind: Literal["none"] = Field(default="none", description="Each model has a port of its own, on loopback.")


Token = Annotated[
    str, text_of(r"^[a-z][a-z0-9-]*$", "name, such as x-session-id: small letters, digits, -", max_length=64)
]


class AliasTarget(Intent):
    """A model behind an alias, and its part of the requests."""

    model: DnsLabel = Field(examples=["phi-3-mini"], description="The `name` of a model of this stack.")
    weight: int = Field(
        default=1, ge=1, le=1000, examples=[90], description="Its part of the requests: 90 beside 10 gets nine of ten."
    )


class Alias(Intent):
    """A further name that clients may send as `model`."""

    name: DnsLabel = Field(examples=["chat"], description="The name that clients send.")
    models: tuple[AliasTarget, ...] = Field(
        min_length=1,
        max_length=8,
        examples=[[{"model": "phi-3-mini", "weight": 90}, {"model": "phi-4-mini", "weight": 10}]],
        description="What answers to it; several share the requests by weight.",
    )


class Affinity(Intent):
    """What keeps the requests of one session together."""

    by: Literal["header", "cookie"] = Field(
        description="header: the client sends one with its session's name; cookie: the gateway gives out one."
    )
    name: Token = Field(examples=["x-session-id"], description="The name of the header or of the cookie.")

    @model_validator(mode="after")
    def _is_free(self) -> Affinity:
        if self.by == "header" and self.name in _HEADERS_WITH_A_MEANING:
            raise Fault((".name", f"is {shown(self.name)}, which has a meaning of its own", "write name: x-session-id"))
        return self


class FrontGateway(Intent):
    """What every gateway has that is one address for all models, with a key for each client."""

    port: int | None = Field(
        default=None,
        ge=1024,
        le=65535,
        examples=[8443],
        description="The port of the machine that clients use; default 8443, or on a cluster 30095, one of 30080 to "
        "30095.",
    )
    expose: Literal["loopback", "lan"] = Field(
        default="loopback", description="lan: other machines may connect; needs `hosts`."
    )
    hosts: tuple[HostName, ...] = Field(
        default=(),
        max_length=16,
        examples=[["192.168.1.20"]],
        description="Names and addresses by which clients call this machine, beside 127.0.0.1 and localhost; any other "
        "is refused.",
    )
    tls: Literal["ownCa", "off"] = Field(
        default="ownCa",
        description="ownCa: a certificate of the stack's own authority, made once; off: plain HTTP, on loopback only.",
    )
    requests_per_minute: int = Field(
        default=600, ge=1, le=100_000, description="How many requests each key may send a minute."
    )

    @model_validator(mode="after")
    def _is_reached_as_it_is_exposed(self) -> FrontGateway:
        found = []
        if self.expose == "lan" and not set(self.hosts) - set(LOOPBACK):
            found.append((".hosts", "is empty, and with expose: lan clients need a name", "add hosts: [192.168.1.20]"))
        if self.expose == "lan" and self.tls == "off":
            found.append((".tls", "is off, and with expose: lan keys would travel in clear text", "write tls: ownCa"))
        if found:
            raise Fault(*found)
        return self


class NamedModels(Intent):
    """Further names of models, and what keeps sessions together."""

    aliases: tuple[Alias, ...] = Field(
        default=(),
        max_length=16,
        examples=[[{"name": "chat", "models": [{"model": "phi-3-mini"}]}]],
        description="Further names of models; one that leads to several models splits their requests.",
    )
    affinity: Affinity | None = Field(
        default=None, description="Keep a session's requests with one model of an alias, and with one of its replicas."
    )


class EnvoyGateway(FrontGateway, NamedModels):
    """One Envoy with a fixed configuration."""

    kind: Literal["envoy"] = Field(description="One URL for all models, with keys, limits and TLS.")
    oidc: Oidc | None = Field(
        default=None, description="Take tokens of an identity provider (OpenID Connect) beside keys."
    )


class ThroughEnvoyGateway(FrontGateway):
    """What kinds have whose Envoy is made by Envoy Gateway."""

    envoy_gateway: Annotated[str, text_of(r"^[0-9]+\.[0-9]+\.[0-9]+$", "version, such as 1.9.1")] | None = Field(
        default=None,
        examples=["1.9.1"],
        description="Which Envoy Gateway; default the newest that the catalogue knows.",
    )
    chart: Annotated[str, text_of(r"^\S+$", "place of a Helm chart", max_length=512)] | None = Field(
        default=None,
        examples=["oci://registry.example/charts/gateway-helm"],
        description="Another place of Envoy Gateway's chart: a mirror, or a file.",
    )


class GatewayApi(ThroughEnvoyGateway, NamedModels):
    """Envoy Gateway, told what to do by objects of the Gateway API."""

    kind: Literal["envoy-gateway"] = Field(
        description="As envoy, as objects of the Gateway API, of which Envoy Gateway makes an Envoy."
    )


RoutingStrategy = Literal[
    "random",
    "least-request",
    "least-busy-time",
    "least-latency",
    "least-kv-cache",
    "least-gpu-cache",
    "least-utilization",
    "throughput",
    "power-of-two",
    "prefix-cache",
    "prefix-cache-preble",
    "vtc-basic",
    "slo",
    "slo-pack-load",
    "slo-least-load",
    "slo-least-load-pulling",
    "pd",
    "session-affinity",
]
"""AIBrix's names (docs/source/features/gateway-plugins.rst of v0.7.0); the catalogue says which of them work when."""


class AIBrixGateway(ThroughEnvoyGateway):
    """Envoy Gateway with AIBrix's routing between the replicas of a model."""

    kind: Literal["aibrix"] = Field(
        description="As envoy-gateway, with AIBrix's routing between the replicas of a model."
    )
    version: Literal["0.7", "0.5"] = Field(default="0.7", description="Which AIBrix.")
    routing: RoutingStrategy = Field(
        default="least-request",
        description="By what AIBrix chooses a replica; for all requests, no client can change it.",
    )


GatewaySettings = NoGateway | EnvoyGateway | GatewayApi | AIBrixGateway
"""Every kind of gateway that a stack file may name, told apart by `kind`."""


def unknown_names(
    models: Sequence[object],
    aliases: Sequence[tuple[object, Sequence[object]]],
    *,
    adapters: Sequence[object] = (),
) -> list[tuple[str, str, str]]:
    """What is wrong with aliases, beside the models' and adapters' names; each alias is (name, its models' names)."""
    found, taken = [], {*models, *adapters}
    known = ", ".join(str(model) for model in models)
    for index, (name, targets) in enumerate(aliases):
        path = f".gateway.aliases[{index}]"
        if name in taken:
            found.append(
                (
                    f"{path}.name",
                    f"{shown(str(name))} is the name of a model, of an adapter or of another alias",
                    "write another name",
                )
            )
        taken.add(name)
        for place, target in enumerate(targets):
            if target not in models:
                found.append(
                    (
                        f"{path}.models[{place}].model",
                        f"{shown(str(target))} is no model of this stack",
                        f"write one of: {known}",
                    )
                )
            elif target in targets[:place]:
                found.append(
                    (f"{path}.models[{place}].model", f"{shown(str(target))} stands there already", "remove the line")
                )
    return found
