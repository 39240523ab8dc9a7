"""Gateway API objects of a stack: the Envoy that Envoy Gateway makes for it, and all that belongs to it."""

from __future__ import annotations

from typing import Any

from components.gateway import gateway_policy_manifests as policies
from components.gateway import gateway_route_manifests as routes
from components.gateway.envoy_gateway_manifests import resources
from components.gateway.envoy_shared_manifests import access_log_line
from components.gateway.gateway_object_manifests import ENVOY_GATEWAY, GATEWAY_API, LISTENER, custom
from stacks import names
from stacks.plan.envoy_gateway import EnvoyGatewayPlan
from stacks.plan.gateway import GatewayPlan


def objects(plan: GatewayPlan, own: EnvoyGatewayPlan, namespace: str) -> list[tuple[str, dict[str, Any]]]:
    """All of them by their names in the program. What closes the gateway comes before any route."""
    found = [
        ("gateway-proxy", envoy_proxy(plan, own, namespace)),
        ("gateway-class", gateway_class(namespace)),
        ("gateway", gateway(plan, namespace)),
        ("gateway-client-traffic", policies.client_traffic(plan, namespace)),
        ("gateway-keys", policies.security(namespace)),
        ("gateway-limits", policies.backend_traffic(plan, namespace)),
        *((f"gateway-{name}-filter", filter_) for name, filter_ in routes.filters(plan, namespace).items()),
        *routes.routes(own, plan, namespace),
    ]
    if plan.aibrix:
        found.append(("gateway-routing", policies.routing(plan.aibrix, plan, namespace)))
    return [*found, ("gateway-envoy", policies.envoy(plan, namespace))]


def envoy_proxy(plan: GatewayPlan, own: EnvoyGatewayPlan, namespace: str) -> dict[str, Any]:
    """The Envoys that Envoy Gateway makes: one, with a size, behind a fixed port of the node."""
    port = {"port": plan.port, "nodePort": plan.port, "protocol": "TCP"}
    line = {"type": "JSON", "json": access_log_line()}
    safe = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    log = {"format": line, "sinks": [{"type": "File", "file": {"path": "/dev/stdout"}}]}
    return custom(
        ENVOY_GATEWAY, "EnvoyProxy", names.GATEWAY, namespace,
        {
            "concurrency": 2,
            "logging": {"level": {"default": "warn"}},
            "shutdown": {"drainTimeout": "30s", "minDrainDuration": "1s"},
            "telemetry": {"accessLog": {"settings": [log]}},
            "provider": {
                "type": "Kubernetes",
                "kubernetes": {
                    "envoyDeployment": {
                        "replicas": 1,
                        "container": {"image": own.envoy.image, "resources": resources(own.envoy)},
                        "pod": {"securityContext": safe},
                    },
                    "envoyService": {
                        "type": "NodePort",
                        "externalTrafficPolicy": "Cluster",
                        "patch": {"type": "StrategicMerge", "value": {"spec": {"ports": [port]}}},
                    },
                },
            },
        },
    )  # fmt: skip


def gateway_class(namespace: str) -> dict[str, Any]:
    """Of the stack alone: it names the stack's own EnvoyProxy."""
    own = {"group": ENVOY_GATEWAY, "kind": "EnvoyProxy", "name": names.GATEWAY, "namespace": namespace}
    return {
        "apiVersion": f"{GATEWAY_API}/v1",
        "kind": "GatewayClass",
        "metadata": {"name": namespace, "labels": names.common_labels("gateway")},
        "spec": {"controllerName": f"{ENVOY_GATEWAY}/gatewayclass-controller", "parametersRef": own},
    }


def gateway(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """One listener; routes of other namespaces are not taken."""
    listener: dict[str, Any] = {
        "name": LISTENER,
        "port": plan.port,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    if plan.tls == "ownCa":
        certificate = {"group": "", "kind": "Secret", "name": names.GATEWAY_TLS_SECRET}
        listener |= {"protocol": "HTTPS", "tls": {"mode": "Terminate", "certificateRefs": [certificate]}}
    spec = {"gatewayClassName": namespace, "listeners": [listener]}
    return custom(GATEWAY_API, "Gateway", names.GATEWAY, namespace, spec, wait="condition=Programmed")
