"""Everything of a gateway whose Envoy is made by Envoy Gateway, in the order in which it is made."""

from __future__ import annotations

from typing import Any

from components.gateway import (
    aibrix_manifests,
    envoy_gateway_controller_manifests,
    envoy_gateway_manifests,
    gateway_api_manifests,
)
from stacks.plan.envoy_gateway import EnvoyGatewayPlan
from stacks.plan.gateway import GatewayPlan

Named = list[tuple[str, dict[str, Any]]]


def before_controller(plan: GatewayPlan, namespace: str, kubernetes: str) -> Named:
    """Envoy Gateway's namespace and its policies."""
    return envoy_gateway_manifests.before(plan, namespace, kubernetes)


def controller(own: EnvoyGatewayPlan) -> Named:
    """The controller, where no chart is to be had."""
    return [] if own.chart else envoy_gateway_controller_manifests.objects(own)


def after_controller(plan: GatewayPlan, own: EnvoyGatewayPlan, namespace: str) -> Named:
    """AIBrix' parts, then what Envoy Gateway reads."""
    parts = aibrix_manifests.objects(plan, plan.aibrix, namespace) if plan.aibrix else []
    return [*parts, *gateway_api_manifests.objects(plan, own, namespace)]


def objects(plan: GatewayPlan, own: EnvoyGatewayPlan, namespace: str, kubernetes: str) -> Named:
    """All of them but the Helm release."""
    return [
        *before_controller(plan, namespace, kubernetes),
        *controller(own),
        *after_controller(plan, own, namespace),
    ]
