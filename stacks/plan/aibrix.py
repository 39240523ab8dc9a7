"""What a gateway of kind aibrix has beside every gateway's settings: Envoy Gateway and AIBrix's routing plugin."""

from __future__ import annotations

from pydantic import Field

from stacks.plan.base import Part


class PodSizePlan(Part):
    """One container: what it requests and may take, in thousandths of a processor and MiB (2^20)."""

    part: str
    image: str
    cpu_millis: int
    memory_request_mib: int = Field(alias="memoryRequestMiB")
    memory_limit_mib: int = Field(alias="memoryLimitMiB")


class EnvoyGatewayPlan(Part):
    """The controller that makes an Envoy of Gateway API objects."""

    version: str
    chart: str
    chart_version: str
    controller: PodSizePlan
    shutdown_manager: PodSizePlan


class AIBrixPlan(Part):
    """AIBrix's routing, and Envoy Gateway around it."""

    release: str
    routing: str = Field(description="ROUTING_ALGORITHM of the plugin; clients cannot send another")
    envoy_gateway: EnvoyGatewayPlan
    envoy: PodSizePlan
    plugin: PodSizePlan
    redis: PodSizePlan
    paths: tuple[str, ...] = Field(description="what clients may POST")
    rerank_paths: tuple[str, ...] = Field(description="the same for models that order documents")
    message_seconds: int = Field(description="how long Envoy waits for the plugin's answer, then 504")
    message_bytes_variable: str | None = Field(description="the plugin's own limit of a body, where it can be set")

    @property
    def parts(self) -> tuple[PodSizePlan, ...]:
        """Every container that runs."""
        own = self.envoy_gateway
        return (own.controller, self.envoy, own.shutdown_manager, self.plugin, self.redis)

    @property
    def cpu_millis(self) -> int:
        """All requests together."""
        return sum(part.cpu_millis for part in self.parts)

    @property
    def memory_request_mib(self) -> int:
        """All requests together."""
        return sum(part.memory_request_mib for part in self.parts)

    @property
    def memory_limit_mib(self) -> int:
        """All limits together: what the node must be able to give."""
        return sum(part.memory_limit_mib for part in self.parts)
