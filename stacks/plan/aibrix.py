"""What a gateway of kind aibrix has beside Envoy Gateway: AIBrix's routing plugin."""

from __future__ import annotations

from pydantic import Field

from stacks.plan.base import Part
from stacks.plan.envoy_gateway import PodSizePlan


class AIBrixPlan(Part):
    """AIBrix's routing between the replicas of a model."""

    release: str
    routing: str = Field(description="ROUTING_ALGORITHM of the plugin; clients cannot send another")
    plugin: PodSizePlan
    redis: PodSizePlan
    message_seconds: int = Field(description="how long Envoy waits for the plugin's answer, then 504")
    message_bytes_variable: str | None = Field(description="the plugin's own limit of a body, where it can be set")
