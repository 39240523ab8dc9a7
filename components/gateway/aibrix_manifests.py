"""AIBrix' routing plugin and its Redis in a stack's namespace, under Pod Security `restricted`."""

from __future__ import annotations

from typing import Any, Final

from components.gateway.envoy_gateway_manifests import api_and_dns_ports, dns, resources
from components.pod_manifests import container_security, pod_security, skips
from stacks import names
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.envoy_gateway import PodSizePlan
from stacks.plan.gateway import GatewayPlan

_PLUGIN, _REDIS, _PORT = names.AIBRIX_PLUGIN, names.AIBRIX_REDIS, names.AIBRIX_PORT
_REDIS_PORT: Final = 6379
_USER: Final = 65532  # of the plugin's image: build/container/Dockerfile.gateway
_MIB: Final = 2**20
_GROUP, _PLURAL = "model.aibrix.ai", "modeladapters"
_METRICS_MS: Final = 1000  # upstream scrapes every engine each 50 ms
_HEAP: Final = 0.9  # of the limit, before Go collects its garbage harder


def objects(gateway: GatewayPlan, plan: AIBrixPlan, namespace: str) -> list[tuple[str, dict[str, Any]]]:
    """All of them by their names in the program, in the order in which they are made."""
    return [
        ("aibrix-adapters", adapters()),
        ("gateway-redis-network", _redis_network(namespace)),
        ("gateway-redis", _redis(plan.redis, namespace)),
        ("gateway-redis-service", _service(_REDIS, namespace, "redis", _REDIS_PORT)),
        ("gateway-plugins-account", _account(namespace)),
        ("gateway-plugins-role", _role(namespace)),
        ("gateway-plugins-binding", _binding(namespace)),
        ("gateway-plugins-network", _plugin_network(namespace)),
        ("gateway-plugins", _plugin(gateway, plan, namespace)),
        ("gateway-plugins-service", _service(_PLUGIN, namespace, "grpc", _PORT)),
    ]


def adapters() -> dict[str, Any]:
    """The definition of ModelAdapter, of which the plugin keeps a list and waits for it; no object of it is made."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{_PLURAL}.{_GROUP}", "labels": names.common_labels("gateway")},
        "spec": {
            "group": _GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "ModelAdapter",
                "listKind": "ModelAdapterList",
                "plural": _PLURAL,
                "singular": "modeladapter",
            },
            "versions": [{"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _plugin(gateway: GatewayPlan, plan: AIBrixPlan, namespace: str) -> dict[str, Any]:
    environment = {
        "ROUTING_ALGORITHM": plan.routing,
        "REDIS_HOST": _REDIS,
        "REDIS_PORT": str(_REDIS_PORT),
        "AIBRIX_POD_METRIC_REFRESH_INTERVAL_MS": str(_METRICS_MS),
        "AIBRIX_GPU_OPTIMIZER_TRACING_FLAG": "false",
        "AIBRIX_PREFIX_CACHE_TOKENIZER_TYPE": "character",
        "GOMEMLIMIT": f"{int(plan.plugin.memory_limit_mib * _HEAP)}MiB",
    }
    if plan.message_bytes_variable:
        environment[plan.message_bytes_variable] = str(gateway.request_buffer_bytes + _MIB)
    fields = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    probe = {"grpc": {"port": _PORT}, "timeoutSeconds": names.HEALTH_SECONDS}
    container = {
        "env": [
            *({"name": name, "value": value} for name, value in sorted(environment.items())),
            *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
        ],
        "ports": [{"name": "grpc", "containerPort": _PORT, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 15, "failureThreshold": 4},
    }
    spec = {"serviceAccountName": _PLUGIN, "automountServiceAccountToken": True}
    return _deployment(plan.plugin, _PLUGIN, namespace, container, spec)


def _redis(size: PodSizePlan, namespace: str) -> dict[str, Any]:
    """Counters of the plugin, which it can lose."""
    probe = {"tcpSocket": {"port": "redis"}, "timeoutSeconds": names.HEALTH_SECONDS}
    most = f"{size.memory_limit_mib // 2}mb"
    container = {
        "command": ["redis-server"],
        "args": [
            "--save", "", "--appendonly", "no", "--maxmemory", most, "--maxmemory-policy", "allkeys-lru",
            "--protected-mode", "no",
        ],
        "ports": [{"name": "redis", "containerPort": _REDIS_PORT, "protocol": "TCP"}],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 15, "failureThreshold": 4},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    spec = {
        "automountServiceAccountToken": False,
        "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    return _deployment(size, _REDIS, namespace, container, spec)


def _deployment(
    size: PodSizePlan, name: str, namespace: str, container: dict[str, Any], spec: dict[str, Any]
) -> dict[str, Any]:
    labels = {**names.common_labels("gateway"), **names.gateway_part_selector(name)}
    given = resources(size)
    scratch = {"requests": {"ephemeral-storage": "16Mi"}, "limits": {"ephemeral-storage": "64Mi", "cpu": "1"}}
    metadata = _metadata(name, namespace)
    reasons = {}
    if "@sha256:" not in size.image:
        why = "no digest of the release was found in public repositories"
        reasons = {"CKV_K8S_43": why, "CKV_K8S_15": f"a release's tag does not move; {why}"}
    if spec["automountServiceAccountToken"]:
        reasons["CKV_K8S_38"] = "it lists pods and adapters of the cluster"
    if reasons:
        metadata["annotations"] = skips(reasons)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": names.gateway_part_selector(name)},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **spec,
                    "enableServiceLinks": False,
                    "securityContext": pod_security(_USER),
                    "containers": [
                        {
                            "name": size.part,
                            "image": size.image,
                            "imagePullPolicy": "IfNotPresent",
                            "resources": {kind: {**given[kind], **more} for kind, more in scratch.items()},
                            "securityContext": container_security(),
                            **container,
                        }
                    ],
                },
            },
        },
    }


def _service(name: str, namespace: str, port: str, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name, namespace),
        "spec": {
            "type": "ClusterIP",
            "selector": names.gateway_part_selector(name),
            "ports": [{"name": port, "port": number, "targetPort": port}],
        },
    }


def _account(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(_PLUGIN, namespace),
        "automountServiceAccountToken": False,
    }


def _role(namespace: str) -> dict[str, Any]:
    """It reads only; upstream's role may also change and delete pods."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"{namespace}-{_PLUGIN}", "labels": names.common_labels("gateway")},
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [_GROUP], "resources": [_PLURAL], "verbs": ["get", "list", "watch"]},
        ],
    }


def _binding(namespace: str) -> dict[str, Any]:
    name = f"{namespace}-{_PLUGIN}"
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": names.common_labels("gateway")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": _PLUGIN, "namespace": namespace}],
    }


def _plugin_network(namespace: str) -> dict[str, Any]:
    """Envoy asks it; it reads the API server, Redis and the engines' metrics."""
    proxy = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": names.ENVOY_GATEWAY_NAMESPACE}},
        "podSelector": {"matchLabels": names.gateway_proxy_selector(namespace)},
    }
    models = {"matchLabels": {"app.kubernetes.io/part-of": names.PART_OF, "app.kubernetes.io/component": "model"}}
    redis = {"podSelector": {"matchLabels": names.gateway_part_selector(_REDIS)}}
    return _network(
        _PLUGIN,
        namespace,
        ingress=[{"from": [proxy], "ports": [{"protocol": "TCP", "port": _PORT}]}],
        egress=[
            {"ports": api_and_dns_ports()},
            {"to": [redis], "ports": [{"protocol": "TCP", "port": _REDIS_PORT}]},
            {"to": [{"podSelector": models}], "ports": [{"protocol": "TCP", "port": names.HTTP_PORT}]},
            dns(),
        ],
    )


def _redis_network(namespace: str) -> dict[str, Any]:
    plugin = {"podSelector": {"matchLabels": names.gateway_part_selector(_PLUGIN)}}
    return _network(
        _REDIS, namespace, ingress=[{"from": [plugin], "ports": [{"protocol": "TCP", "port": _REDIS_PORT}]}], egress=[]
    )


def _network(name: str, namespace: str, *, ingress: list[Any], egress: list[Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(name, namespace),
        "spec": {
            "podSelector": {"matchLabels": names.gateway_part_selector(name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    labels = {**names.common_labels("gateway"), **names.gateway_part_selector(name)}
    return {"name": name, "namespace": namespace, "labels": labels}
