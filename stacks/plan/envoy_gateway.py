"""Envoy Gateway: the controller that makes the gateway's Envoy of objects of the Gateway API."""

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
    """The controller, the Envoy that it makes, and what clients may POST."""

    version: str
    chart: str | None = Field(description="where Helm finds it; None: the controller is objects of our own")
    chart_version: str
    controller: PodSizePlan
    shutdown_manager: PodSizePlan
    envoy: PodSizePlan
    paths: tuple[str, ...]
    rerank_paths: tuple[str, ...] = Field(description="the same for models that order documents")

    @property
    def parts(self) -> tuple[PodSizePlan, ...]:
        """Every container that runs."""
        return (self.controller, self.envoy, self.shutdown_manager)
