"""The gateway: the one address that clients use for all models of a stack."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from stacks import names
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.base import Part
from stacks.plan.envoy_gateway import EnvoyGatewayPlan, PodSizePlan
from stacks.plan.gateway_oidc import OidcPlan

PATHS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
"""What clients may POST; the engine says itself which of them its model knows."""

RERANK_PATHS: Final = ("/v1/rerank", "/v1/score")
"""The same where a model of the stack orders documents."""


class BackendPlan(Part):
    """Where the gateway reaches the engine of one model."""

    model: str = Field(description="the `model` that clients send")
    host: str
    port: int
    health_path: str = Field(description="what answers with 200 once the engine serves")
    task: names.Task = Field(
        default="chat", exclude_if=lambda value: value == "chat", description="which paths lead to it"
    )
    adapters: tuple[str, ...] = Field(
        default=(), exclude_if=lambda value: not value, description="further `model`s that its engine serves"
    )
    cluster_ip: str | None = Field(
        default=None, alias="clusterIP", description="of the model's Service; None, the word: an address for each pod"
    )


class AliasTargetPlan(Part):
    """One model behind an alias, and its part of the requests."""

    model: str
    weight: int


class AliasPlan(Part):
    """A further name that clients may send as `model`."""

    name: str
    targets: tuple[AliasTargetPlan, ...]


class AffinityPlan(Part):
    """What keeps the requests of one session with one engine."""

    by: Literal["header", "cookie"]
    name: str


class GatewayPlan(Part):
    """An Envoy with a fixed configuration, or one that Envoy Gateway configures. Sizes are bytes or MiB (2^20), as the
    names say.
    """

    kind: Literal["envoy", "envoy-gateway", "aibrix"] = "envoy"
    image: str
    pull_policy: Literal["IfNotPresent", "Never"] = "IfNotPresent"
    cluster_ip: str | None = Field(default=None, alias="clusterIP", description="of its own Service, where it is fixed")
    address: str = Field(description="where the machine listens: loopback, or every address")
    port: int
    tls: Literal["ownCa", "off"]
    hosts: tuple[str, ...] = Field(description="what clients may call it in Host, and what the certificate is for")
    backends: tuple[BackendPlan, ...]
    aliases: tuple[AliasPlan, ...] = ()
    affinity: AffinityPlan | None = None
    request_buffer_bytes: int = Field(description="the longest request body; a longer one is refused with 413")
    response_buffer_bytes: int = Field(
        description="held of an answer that a client reads slowly; the engine waits beyond it"
    )
    header_kib: int = Field(alias="headerKiB", description="all headers of a request; more is refused with 431")
    connections: int = Field(description="clients connected at once")
    requests_per_minute: int = Field(description="of one key; more are refused with 429")
    total_requests_per_minute: int = Field(description="of all keys together")
    body_seconds: int = Field(description="a request must have arrived whole within this time, else 408")
    idle_seconds: int = Field(description="a stream on which nothing moves for longer is ended")
    memory_mib: int = Field(alias="memoryMiB", description="the container's memory limit")
    envoy_gateway: EnvoyGatewayPlan | None = Field(
        default=None, exclude_if=lambda value: value is None, description="None: Envoy has a fixed configuration"
    )
    aibrix: AIBrixPlan | None = Field(
        default=None, exclude_if=lambda value: value is None, description="of kind aibrix only"
    )
    oidc: OidcPlan | None = Field(
        default=None, exclude_if=lambda value: value is None, description="tokens that are taken beside keys"
    )

    @property
    def parts(self) -> tuple[PodSizePlan, ...]:
        """Every container beside a fixed Envoy."""
        own = self.envoy_gateway.parts if self.envoy_gateway else ()
        return (*own, self.aibrix.plugin, self.aibrix.redis) if self.aibrix else own

    @property
    def cpu_millis(self) -> int:
        """What its parts request together, in thousandths of a processor."""
        return sum(part.cpu_millis for part in self.parts)

    @property
    def node_memory_mib(self) -> int:
        """What all of its parts may take, in MiB."""
        return sum(part.memory_limit_mib for part in self.parts) if self.parts else self.memory_mib

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may send as `model`, and what `/v1/models` lists."""
        return (*self.models, *(alias.name for alias in self.aliases))

    @property
    def models(self) -> dict[str, BackendPlan]:
        """Models and their adapters, each with the engine that serves it."""
        return {name: backend for backend in self.backends for name in (backend.model, *backend.adapters)}

    @property
    def url(self) -> str:
        """The base URL that an OpenAI client is given."""
        return f"{'https' if self.tls == 'ownCa' else 'http'}://{self.hosts[0]}:{self.port}/v1"
