"""One model's Kubernetes objects, hardened to Pod Security `restricted`."""

from __future__ import annotations

from typing import Any

from stacks import names
from stacks.planning.plan import ModelPlan

_UID = 10001  # above 10000, where no host user lives (checkov CKV_K8S_40)
_NAMESPACE = names.MODELS_NAMESPACE


def _metadata(model: ModelPlan, name: str | None = None) -> dict[str, Any]:
    return {"name": name or model.name, "namespace": _NAMESPACE, "labels": names.model_labels(model.name)}


def service_account(model: ModelPlan) -> dict[str, Any]:
    """An identity without a token: the engine never talks to the API server."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(model),
        "automountServiceAccountToken": False,
    }


def network_policy(model: ModelPlan) -> dict[str, Any]:
    """The engine's HTTP port may be reached; the engine may reach nothing."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(model),
        "spec": {
            "podSelector": {"matchLabels": names.model_selector(model.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": names.HTTP_PORT}]}],
        },
    }


def disruption_budget(model: ModelPlan) -> dict[str, Any]:
    """One engine may go at a time; minAvailable would block draining a one-engine node for ever."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(model),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.model_selector(model.name)}},
    }


def service(model: ModelPlan) -> dict[str, Any]:
    """The address inside the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(model),
        "spec": {
            "type": "ClusterIP",
            "selector": names.model_selector(model.name),
            "ports": [{"name": "http", "port": names.HTTP_PORT, "targetPort": "http"}],
        },
    }


def endpoint(model: ModelPlan) -> dict[str, Any]:
    """The fixed port on the node through which the machine itself reaches the model."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(model, names.endpoint_service(model.name)),
        "spec": {
            "type": "NodePort",
            "selector": names.model_selector(model.name),
            "ports": [{"name": "http", "port": names.HTTP_PORT, "targetPort": "http", "nodePort": model.port}],
        },
    }


def deployment(model: ModelPlan, *, claim: str, api_key_mark: Any = None) -> dict[str, Any]:
    """The engines, with weights from the PersistentVolumeClaim `claim`; `api_key_mark` changes when the endpoint's key
    does.

    Recreate, because a second pod would wait for ever for the GPU of the first.
    """
    life = model.lifecycle
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(model), **_exceptions(model)},
        "spec": {
            "replicas": model.replicas,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": life.progress_deadline_seconds,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": names.model_selector(model.name)},
            "template": {
                "metadata": {
                    "labels": names.model_labels(model.name),
                    # An environment value from a Secret is read at start only, so a new key has to start new pods.
                    **({"annotations": {"local-ai-lab/api-key": api_key_mark}} if api_key_mark is not None else {}),
                },
                "spec": {
                    "serviceAccountName": model.name,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": life.termination_grace_seconds,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": _UID,
                        "runAsGroup": _UID,
                        "fsGroup": _UID,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [_container(model, api_key=api_key_mark is not None)],
                    "volumes": [
                        {"name": "models", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
                        {"name": "tmp", "emptyDir": {"sizeLimit": f"{model.resources.scratch_mib}Mi"}},
                        {
                            "name": "shm",
                            "emptyDir": {"medium": "Memory", "sizeLimit": f"{model.resources.shared_memory_mib}Mi"},
                        },
                    ],
                },
            },
        },
    }


def _exceptions(model: ModelPlan) -> dict[str, Any]:
    """What an image that no registry holds forces, said where scanners and reviewers read it."""
    reasons = {}
    if "@sha256:" not in model.image:
        reasons["CKV_K8S_43"] = "no registry holds the image; its tag names the recipe that it is built from"
    if model.pull_policy == "Never":
        reasons["CKV_K8S_15"] = "there is no registry to pull from"
    skips = {f"checkov.io/skip{n}": f"{check}={reason}" for n, (check, reason) in enumerate(reasons.items(), 1)}
    return {"annotations": skips} if skips else {}


def _container(model: ModelPlan, *, api_key: bool) -> dict[str, Any]:
    life = model.lifecycle
    environment: list[dict[str, Any]] = [{"name": k, "value": v} for k, v in sorted(model.environment.items())]
    if api_key:
        environment.append(
            {"name": "VLLM_API_KEY", "valueFrom": {"secretKeyRef": {"name": names.API_KEY_SECRET, "key": "apiKey"}}}
        )
    health = {"httpGet": {"path": "/health", "port": "http"}}
    return {
        "name": "vllm",
        "image": model.image,
        "imagePullPolicy": model.pull_policy,
        "args": list(model.args),
        "env": environment,
        "ports": [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        "resources": _resources(model),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "readOnlyRootFilesystem": model.read_only_root_filesystem,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "startupProbe": {
            **health,
            "periodSeconds": life.startup_period_seconds,
            "failureThreshold": life.startup_failures,
            "timeoutSeconds": 5,
        },
        "readinessProbe": {**health, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 15, "failureThreshold": 8, "timeoutSeconds": 5},
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(life.pre_stop_seconds)]}}},
        "volumeMounts": [
            {"name": "models", "mountPath": names.MODELS_MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (the pod's own emptyDir)
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def _resources(model: ModelPlan) -> dict[str, Any]:
    plan = model.resources
    gpus = {"nvidia.com/gpu": str(plan.gpus)} if plan.gpus else {}
    return {
        "requests": {
            "cpu": plan.cpu_request,
            "memory": f"{plan.memory_request_mib}Mi",
            "ephemeral-storage": f"{plan.scratch_mib // 2}Mi",
            **gpus,
        },
        "limits": {
            "cpu": plan.cpu_limit,
            "memory": f"{plan.memory_limit_mib}Mi",
            "ephemeral-storage": f"{plan.scratch_mib * 2}Mi",
            **gpus,
        },
    }
