"""Everything of a gateway of kind aibrix, in the order in which it is made; the Helm release is between two lists."""

from __future__ import annotations

from typing import Any

from components.gateway import aibrix_manifests, envoy_gateway_manifests, gateway_api_manifests
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.gateway import GatewayPlan

Named = list[tuple[str, dict[str, Any]]]


def before_release(plan: GatewayPlan, namespace: str, kubernetes: str) -> Named:
    """Envoy Gateway's namespace and its policies."""
    return envoy_gateway_manifests.before(plan, namespace, kubernetes)


def objects(plan: GatewayPlan, aibrix: AIBrixPlan, namespace: str, kubernetes: str) -> Named:
    """Both lists."""
    return [*before_release(plan, namespace, kubernetes), *after_release(plan, aibrix, namespace)]


def after_release(plan: GatewayPlan, aibrix: AIBrixPlan, namespace: str) -> Named:
    """AIBrix' parts, then what Envoy Gateway reads."""
    return [*aibrix_manifests.objects(plan, aibrix, namespace), *gateway_api_manifests.objects(plan, aibrix, namespace)]
