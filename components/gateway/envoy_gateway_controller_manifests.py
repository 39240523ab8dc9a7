"""Envoy Gateway's controller as objects of our own, for clusters that reach no chart. Roles, arguments and ports are
those of its chart (charts/gateway-helm of v1.9.1).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from components.gateway.envoy_gateway_manifests import CERTIFICATES, CONTROLLER, configuration, resources
from components.pod_manifests import container_security, pod_security, skips
from stacks import names
from stacks.plan.envoy_gateway import EnvoyGatewayPlan

_SPACE: Final = names.ENVOY_GATEWAY_NAMESPACE
_NAME: Final = "envoy-gateway"  # the proxies' bootstrap calls the Service by this name
_CERTGEN: Final = "envoy-gateway-certgen"
_USER: Final = 65532
_PORTS: Final = {"grpc": 18000, "ratelimit": 18001, "wasm": 18002, "metrics": 19001}
_READ: Final = ("get", "list", "watch")
_OWN: Final = ("create", "get", "list", "delete", "deletecollection", "patch", "watch")
_BUILT_HERE: Final = {
    "CKV_K8S_15": "the image was built on the machine, and no registry could be asked again",
    "CKV_K8S_43": "the image was built on the machine: its tag is a digest of what it is made of",
}
_SECRETS: Final = ("envoy-gateway", "envoy", "envoy-rate-limit", "envoy-oidc-hmac")
_GATEWAY_API: Final = (
    "gateways", "listenersets", "grpcroutes", "httproutes", "tcproutes", "tlsroutes", "udproutes", "backendtlspolicies",
)  # fmt: skip
_POLICIES: Final = (
    "envoyproxies", "envoypatchpolicies", "clienttrafficpolicies", "backendtrafficpolicies", "securitypolicies",
    "envoyextensionpolicies", "backends",
)  # fmt: skip
_WATCHES: Final = (
    ("", ("nodes", "namespaces", "configmaps", "secrets", "services"), _READ),
    ("apps", ("deployments", "daemonsets"), _READ),
    ("discovery.k8s.io", ("endpointslices",), _READ),
    ("gateway.networking.k8s.io", ("gatewayclasses",), (*_READ, "patch", "update")),
    ("gateway.networking.k8s.io", (*_GATEWAY_API, "referencegrants"), _READ),
    ("gateway.networking.k8s.io", ("gatewayclasses/status", *(f"{kind}/status" for kind in _GATEWAY_API)), ("update",)),
    ("gateway.envoyproxy.io", (*_POLICIES, "httproutefilters"), _READ),
    ("gateway.envoyproxy.io", tuple(f"{kind}/status" for kind in _POLICIES), ("update",)),
)
_MAKES: Final = (
    ("", ("serviceaccounts", "services", "configmaps"), _OWN),
    ("apps", ("deployments", "daemonsets"), _OWN),
    ("autoscaling", ("horizontalpodautoscalers",), _OWN),
    ("policy", ("poddisruptionbudgets",), _OWN),
    ("", ("events",), ("create", "patch")),
)


def objects(plan: EnvoyGatewayPlan) -> list[tuple[str, dict[str, Any]]]:
    """All of them by their names in the program, in the order in which they are made."""
    return [
        ("envoy-gateway-account", _account(_NAME)),
        ("envoy-gateway-role", _role("ClusterRole", _NAME, _WATCHES)),
        ("envoy-gateway-binding", _binding("ClusterRole", _NAME, _NAME)),
        ("envoy-gateway-proxies-role", _role("Role", "infra-manager", _MAKES)),
        ("envoy-gateway-proxies-binding", _binding("Role", "infra-manager", _NAME)),
        ("envoy-gateway-certificates-account", _account(_CERTGEN)),
        (
            "envoy-gateway-certificates-role",
            _certificates_role(),
        ),
        ("envoy-gateway-certificates-binding", _binding("Role", _CERTGEN, _CERTGEN)),
        ("envoy-gateway-certificates", _certificates(plan)),
        ("envoy-gateway-configuration", _configuration(plan)),
        ("envoy-gateway", _controller(plan)),
        ("envoy-gateway-service", _service()),
    ]


def _account(name: str) -> dict[str, Any]:
    metadata = _metadata(name)
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }


def _role(kind: str, name: str, rules: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": _metadata(name, in_space=kind == "Role"),
        "rules": [
            {"apiGroups": [group], "resources": list(kinds), "verbs": list(verbs)} for group, kinds, verbs in rules
        ],
    }


def _certificates_role() -> dict[str, Any]:
    """Its own four Secrets; a role cannot name what is not there yet, so that it may make others, and not read them."""
    role = _role("Role", _CERTGEN, (("", ("secrets",), ("create",)), ("", ("secrets",), ("get", "update"))))
    role["rules"][1]["resourceNames"] = list(_SECRETS)
    return role


def _binding(kind: str, role: str, account: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(role, in_space=kind == "Role"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": _SPACE}],
    }


def _certificates(plan: EnvoyGatewayPlan) -> dict[str, Any]:
    """Makes the certificates by which proxies and controller know each other, once: it changes none that is there."""
    container = {
        "name": _CERTGEN,
        "command": ["envoy-gateway", "certgen"],
        "args": ["--disable-topology-injector"],
    }
    reasons = {**_BUILT_HERE, "CKV_K8S_38": "it writes Secrets of its namespace"}
    metadata = {**_metadata(_CERTGEN), "annotations": skips(reasons)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 3,
            "template": {
                "metadata": {"labels": {**names.common_labels("gateway"), **CERTIFICATES}},
                "spec": {**_pod(plan, _CERTGEN, container), "restartPolicy": "Never"},
            },
        },
    }


def _configuration(plan: EnvoyGatewayPlan) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata("envoy-gateway-config"),
        "data": {"envoy-gateway.yaml": _config_text(plan)},
    }


def _config_text(plan: EnvoyGatewayPlan) -> str:
    document = {"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyGateway", **configuration(plan)}
    document["gateway"] = {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}
    document["provider"]["kubernetes"]["proxyTopologyInjector"] = {"disabled": True}
    return json.dumps(document, indent=1, sort_keys=True)


def _controller(plan: EnvoyGatewayPlan) -> dict[str, Any]:
    health = {"httpGet": {"path": "/healthz", "port": 8081}, "timeoutSeconds": names.HEALTH_SECONDS}
    ready = {"httpGet": {"path": "/readyz", "port": 8081}, "timeoutSeconds": names.HEALTH_SECONDS}
    container = {
        "name": _NAME,
        "command": ["envoy-gateway"],
        "args": ["server", "--config-path=/config/envoy-gateway.yaml"],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _PORTS.items()],
        "startupProbe": {**health, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 20, "failureThreshold": 3},
        "volumeMounts": [
            {"name": "config", "mountPath": "/config", "readOnly": True},
            {"name": "certs", "mountPath": "/certs", "readOnly": True},
            {"name": "wasm", "mountPath": "/var/lib/eg/wasm"},
        ],
    }
    digest = hashlib.sha256(_config_text(plan).encode()).hexdigest()[:12]
    reasons = skips({**_BUILT_HERE, "CKV_K8S_38": "it reads Gateway API objects and makes proxies"})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(_NAME), "annotations": reasons},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 300,
            "selector": {"matchLabels": CONTROLLER},
            "template": {
                "metadata": {
                    "labels": {**names.common_labels("gateway"), **CONTROLLER},
                    "annotations": {names.DIGEST_LABEL: digest},  # a changed configuration starts it again
                },
                "spec": {
                    **_pod(plan, _NAME, container),
                    "terminationGracePeriodSeconds": 10,
                    "volumes": [
                        {"name": "config", "configMap": {"name": "envoy-gateway-config"}},
                        {"name": "certs", "secret": {"secretName": "envoy-gateway", "defaultMode": 0o440}},
                        {"name": "wasm", "emptyDir": {"sizeLimit": "64Mi"}},
                    ],
                },
            },
        },
    }


def _pod(plan: EnvoyGatewayPlan, account: str, container: dict[str, Any]) -> dict[str, Any]:
    given = resources(plan.controller)
    scratch = {"requests": {"ephemeral-storage": "16Mi"}, "limits": {"ephemeral-storage": "128Mi", "cpu": "1"}}
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": pod_security(_USER),
        "containers": [
            {
                "image": plan.controller.image,
                "imagePullPolicy": "Never",  # it was built here, and no registry has it
                "env": [
                    {
                        "name": "ENVOY_GATEWAY_NAMESPACE",
                        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                    },
                    {"name": "KUBERNETES_CLUSTER_DOMAIN", "value": "cluster.local"},
                ],
                "resources": {kind: {**given[kind], **more} for kind, more in scratch.items()},
                "securityContext": container_security(),
                **container,
            }
        ],
    }


def _service() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(_NAME),
        "spec": {
            "type": "ClusterIP",
            "selector": CONTROLLER,
            "ports": [{"name": name, "port": port, "targetPort": port} for name, port in _PORTS.items()],
        },
    }


def _metadata(name: str, *, in_space: bool = True) -> dict[str, Any]:
    space = {"namespace": _SPACE} if in_space else {}
    return {"name": name, **space, "labels": names.common_labels("gateway")}
