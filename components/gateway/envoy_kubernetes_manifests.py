"""The gateway as objects of a stack's namespace, under Pod Security `restricted`, with the configuration that a
container of plain Docker has. Keys and certificate come from a Secret that only the machine writes
(host/gateway/kubernetes.py): they are in no state of Pulumi.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from components.gateway import envoy_oidc_manifests as oidc
from components.gateway.envoy_manifests import bootstrap
from components.pod_manifests import container_security, pod_security, skips
from stacks import names
from stacks.plan import KubernetesPlan
from stacks.plan.gateway import GatewayPlan

_LABELS: Final = {**names.common_labels("gateway"), **names.gateway_selector()}
_START_SECONDS: Final = 60  # Envoy answered 1.4 s after its pod was made; a cold node pulls the image first
_DRAIN_SECONDS: Final = 30


def objects(plan: GatewayPlan, namespace: str) -> list[tuple[str, dict[str, Any]]]:
    """All of them by their names in the program, in the order in which they are made."""
    return [
        ("gateway-configuration", configuration(plan, namespace)),
        ("gateway-account", _account(namespace)),
        ("gateway-network", network_policy(plan, namespace)),
        ("gateway", deployment(plan, namespace)),
        ("gateway-service", service(plan, namespace)),
    ]


def secrets_spec(plan: GatewayPlan, cluster: KubernetesPlan) -> str:
    """What the Command is told; nothing of it is secret."""
    spec: dict[str, Any] = {
        "kubeconfig": cluster.kubeconfig,
        "namespace": cluster.namespace,
        "hosts": list(plan.hosts),
    }
    if plan.envoy_gateway:
        spec["kind"] = plan.kind
    else:
        spec["files"] = list(names.GATEWAY_FILES)  # one more of them makes the Command run again
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


def configuration(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """Envoy's bootstrap; nothing of it is secret."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(namespace),
        "data": {"bootstrap.json": bootstrap(plan)},
    }


def network_policy(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """Clients reach its one port; it reaches the engines, the cluster's DNS, and an identity provider's keys."""
    models = {"matchLabels": {"app.kubernetes.io/part-of": names.PART_OF, "app.kubernetes.io/component": "model"}}
    dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(namespace),
        "spec": {
            "podSelector": {"matchLabels": names.gateway_selector()},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": plan.port}]}],
            "egress": [
                {"to": [{"podSelector": models}], "ports": [{"protocol": "TCP", "port": names.HTTP_PORT}]},
                {"to": [dns], "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]},
                *(oidc.egress(plan.oidc) if plan.oidc else ()),
            ],
        },
    }


def service(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """The port of the node through which the machine reaches it."""
    fixed = {"clusterIP": plan.cluster_ip} if plan.cluster_ip else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(namespace),
        "spec": {
            "type": "NodePort",
            **fixed,
            "selector": names.gateway_selector(),
            "ports": [{"name": "clients", "port": plan.port, "targetPort": "clients", "nodePort": plan.port}],
        },
    }


def deployment(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """Two workers of one Envoy. A changed configuration starts a new pod before the old one ends; a changed key or
    certificate needs none, Envoy reads the files again.
    """
    digest = hashlib.sha256(bootstrap(plan).encode()).hexdigest()[:12]
    probe = {"tcpSocket": {"port": "clients"}, "timeoutSeconds": names.HEALTH_SECONDS}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(namespace), **_exceptions(plan)},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": 10 * _START_SECONDS,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": names.gateway_selector()},
            "template": {
                "metadata": {"labels": _LABELS, "annotations": {"local-ai-lab/configuration": digest}},
                "spec": {
                    "serviceAccountName": names.GATEWAY,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": _DRAIN_SECONDS,
                    "securityContext": pod_security(names.ENGINE_UID),
                    "containers": [_container(plan, probe)],
                    "volumes": [{"name": "files", "projected": {"defaultMode": 0o440, "sources": _sources()}}],
                },
            },
        },
    }


def _container(plan: GatewayPlan, probe: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "envoy",
        "image": plan.image,
        "imagePullPolicy": plan.pull_policy,
        "command": ["envoy"],
        "args": [
            "-c", f"{names.GATEWAY_FOLDER}/bootstrap.json", "--log-level", "warn", "--concurrency", "2",
            "--disable-hot-restart",
        ],
        "ports": [{"name": "clients", "containerPort": plan.port, "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "16Mi"},
            "limits": {"cpu": "2", "memory": f"{plan.memory_mib}Mi", "ephemeral-storage": "64Mi"},
        },
        "securityContext": container_security(),
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": _START_SECONDS},
        "readinessProbe": {**probe, "periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 15, "failureThreshold": 4},
        "volumeMounts": [{"name": "files", "mountPath": names.GATEWAY_FOLDER, "readOnly": True}],
    }  # fmt: skip


def _sources() -> list[dict[str, Any]]:
    """One folder, so that Envoy sees each file of it replaced at once."""
    return [{"configMap": {"name": names.GATEWAY}}, {"secret": {"name": names.GATEWAY_SECRET}}]


def _account(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(namespace),
        "automountServiceAccountToken": False,
    }


def _metadata(namespace: str) -> dict[str, Any]:
    return {"name": names.GATEWAY, "namespace": namespace, "labels": _LABELS}


def _exceptions(plan: GatewayPlan) -> dict[str, Any]:
    """What an image that no registry holds forces, said where scanners and reviewers read it."""
    if plan.pull_policy != "Never":
        return {}
    reasons = {
        "CKV_K8S_43": "no registry holds the image; its tag names what it is made of",
        "CKV_K8S_15": "there is no registry to pull from",
    }
    return {"annotations": skips(reasons)}
