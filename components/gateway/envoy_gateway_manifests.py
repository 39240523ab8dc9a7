"""Envoy Gateway itself: its namespace, what may be reached there, and the Helm release."""

from __future__ import annotations

from typing import Any, Final

from components.cluster import namespace_manifests as namespaces
from stacks import names
from stacks.plan.envoy_gateway import EnvoyGatewayPlan, PodSizePlan
from stacks.plan.gateway import GatewayPlan

RELEASE: Final = "envoy-gateway"
"""The release's name, in Helm and in the program."""

SECONDS: Final = 900
"""How long the release may take: a cold node pulls the controller's image."""

API_SERVER_PORTS: Final = (443, 6443, 8443)
"""Where API servers listen: as a Service, K3s' and minikube's own. Policies see the port behind the Service."""

_XDS: Final = 18000
_WASM: Final = 18002
CONTROLLER: Final = {"control-plane": "envoy-gateway"}  # the chart's own labels
CERTIFICATES: Final = {"app": "certgen"}


def before(plan: GatewayPlan, namespace: str, kubernetes: str) -> list[tuple[str, dict[str, Any]]]:
    """What must be there before the release."""
    space = names.ENVOY_GATEWAY_NAMESPACE
    owned = namespaces.namespace(space, pod_security="restricted", component="gateway", kubernetes=kubernetes)
    return [
        ("envoy-gateway-namespace", owned),
        ("envoy-gateway-default-deny", namespaces.default_deny(space)),
        ("envoy-gateway-controller-network", _policy("controller", CONTROLLER, _controller_rules())),
        ("envoy-gateway-certificates-network", _policy("certificates", CERTIFICATES, {"egress": _api_and_dns()})),
        (
            "envoy-gateway-proxy-network",
            _policy("proxy", names.gateway_proxy_selector(namespace), _proxy_rules(plan, namespace)),
        ),
    ]


def release(plan: EnvoyGatewayPlan) -> dict[str, Any]:
    """The arguments of helm.v3.Release; empty where there is no chart."""
    if plan.chart is None:
        return {}
    image = plan.controller.image
    values: dict[str, Any] = {
        "global": {"images": {"envoyGateway": {"image": image, "pullPolicy": "IfNotPresent"}}},
        "deployment": {"envoyGateway": {"resources": resources(plan.controller)}},
        "certgen": {"job": {"resources": resources(plan.controller)}},
        "topologyInjector": {"enabled": False},  # one node: no webhook on every pod that is bound
        "config": {"envoyGateway": configuration(plan)},
    }
    return {
        "name": RELEASE,
        "chart": plan.chart,
        "version": plan.chart_version,
        "namespace": names.ENVOY_GATEWAY_NAMESPACE,
        "createNamespace": False,
        "cleanupOnFail": True,
        "timeout": SECONDS,
        "values": values,
    }


def configuration(plan: EnvoyGatewayPlan) -> dict[str, Any]:
    """The controller's own. Every image is named: by itself it would start a shutdown manager with the tag latest."""
    provider = {"shutdownManager": {"image": plan.shutdown_manager.image}, "leaderElection": {"disable": True}}
    return {
        "provider": {"type": "Kubernetes", "kubernetes": provider},
        "extensionApis": {"enableEnvoyPatchPolicy": True},
    }


def resources(size: PodSizePlan) -> dict[str, Any]:
    """Requests, and a limit of memory; a processor that is free may be used."""
    return {
        "requests": {"cpu": f"{size.cpu_millis}m", "memory": f"{size.memory_request_mib}Mi"},
        "limits": {"memory": f"{size.memory_limit_mib}Mi"},
    }


def api_and_dns_ports() -> list[dict[str, Any]]:
    """For pods that talk to the API server; no selector finds it."""
    return [{"protocol": "TCP", "port": port} for port in API_SERVER_PORTS]


def dns() -> dict[str, Any]:
    """The cluster's own."""
    space = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    return {"to": [space], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}


def _api_and_dns() -> list[dict[str, Any]]:
    return [{"ports": api_and_dns_ports()}, dns()]


def _controller_rules() -> dict[str, Any]:
    ports = [{"protocol": "TCP", "port": _XDS, "endPort": _WASM}]
    return {"ingress": [{"from": [{"podSelector": {}}], "ports": ports}], "egress": _api_and_dns()}


def _proxy_rules(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    stack = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    models = {"matchLabels": {"app.kubernetes.io/part-of": names.PART_OF, "app.kubernetes.io/component": "model"}}
    plugin = {"matchLabels": names.gateway_part_selector(names.AIBRIX_PLUGIN)}
    to_plugin = {"to": [{**stack, "podSelector": plugin}], "ports": [{"protocol": "TCP", "port": names.AIBRIX_PORT}]}
    return {
        "ingress": [{"ports": [{"protocol": "TCP", "port": plan.port}]}],
        "egress": [
            {"to": [{**stack, "podSelector": models}], "ports": [{"protocol": "TCP", "port": names.HTTP_PORT}]},
            *([to_plugin] if plan.aibrix else []),
            {
                "to": [{"podSelector": {"matchLabels": CONTROLLER}}],
                "ports": [{"protocol": "TCP", "port": _XDS, "endPort": _WASM}],
            },
            dns(),
        ],
    }


def _policy(name: str, selector: dict[str, str], rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": names.ENVOY_GATEWAY_NAMESPACE,
            "labels": names.common_labels("gateway"),
        },
        "spec": {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress", "Egress"], **rules},
    }
