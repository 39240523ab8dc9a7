"""One model's Kubernetes objects, hardened to Pod Security `restricted`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from components.pod_manifests import container_security, pod_security, skips
from stacks import names
from stacks.plan import ModelPlan, Plan


@dataclass(frozen=True)
class Pod:
    """What the pods of every model have alike: the PersistentVolumeClaim of their weights, the RuntimeClass that they
    name, whether they have a /dev/shm of their own (MPS brings one), whether they start one after another, and whether
    AIBrix looks for them.
    """

    claim: str
    runtime_class: str | None = None
    shared_memory: bool = True
    one_by_one: bool = False
    gateway: str | None = None

    @classmethod
    def of(cls, plan: Plan) -> Pod:
        """As the plan has them."""
        nvidia = plan.nvidia
        return cls(
            claim=plan.model_cache.name,
            runtime_class=nvidia.runtime_class.name if nvidia and nvidia.runtime_class else None,
            shared_memory=not (nvidia and nvidia.sharing.kind == "mps"),
            one_by_one=plan.shared_cards,
            gateway=plan.gateway.kind if plan.gateway else None,
        )


OF_THE_GATEWAY: Final = "gateway"
"""Stands in place of the key's digest where the key is made once and kept."""


def _metadata(model: ModelPlan, namespace: str, name: str | None = None) -> dict[str, Any]:
    return {"name": name or model.name, "namespace": namespace, "labels": names.model_labels(model.name)}


def service_account(model: ModelPlan, namespace: str) -> dict[str, Any]:
    """An identity without a token: the engine never talks to the API server."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(model, namespace),
        "automountServiceAccountToken": False,
    }


def network_policy(model: ModelPlan, namespace: str, *, gateway: str | None = None) -> dict[str, Any]:
    """The engine's HTTP port may be reached, by the gateway alone where there is one; the engine may reach nothing."""
    callers = [{"podSelector": {"matchLabels": names.gateway_selector()}}]
    if gateway in ("envoy-gateway", "aibrix"):  # Envoy Gateway's Envoys ask, and AIBrix' plugin reads metrics
        space = {"matchLabels": {"kubernetes.io/metadata.name": names.ENVOY_GATEWAY_NAMESPACE}}
        proxy = {"matchLabels": names.gateway_proxy_selector(namespace)}
        plugin = {"matchLabels": names.gateway_part_selector(names.AIBRIX_PLUGIN)}
        others = [{"podSelector": plugin}] if gateway == "aibrix" else []
        callers = [{"namespaceSelector": space, "podSelector": proxy}, *others]
    sources = {"from": callers} if gateway else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(model, namespace),
        "spec": {
            "podSelector": {"matchLabels": names.model_selector(model.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{**sources, "ports": [{"protocol": "TCP", "port": names.HTTP_PORT}]}],
        },
    }


def disruption_budget(model: ModelPlan, namespace: str) -> dict[str, Any]:
    """One engine may go at a time; minAvailable would block draining a one-engine node for ever."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(model, namespace),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.model_selector(model.name)}},
    }


def service(model: ModelPlan, namespace: str, *, cluster_ip: str | None = None) -> dict[str, Any]:
    """The address inside the cluster: a fixed one, or with the word None one for each pod, where a gateway asks."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(model, namespace),
        "spec": {
            "type": "ClusterIP",
            **({"clusterIP": cluster_ip} if cluster_ip else {}),
            "selector": names.model_selector(model.name),
            "ports": [{"name": "http", "port": names.HTTP_PORT, "targetPort": "http"}],
        },
    }


def endpoint(model: ModelPlan, namespace: str) -> dict[str, Any]:
    """The fixed port on the node through which the machine itself reaches the model."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(model, namespace, names.endpoint_service(model.name)),
        "spec": {
            "type": "NodePort",
            "selector": names.model_selector(model.name),
            "ports": [{"name": "http", "port": names.HTTP_PORT, "targetPort": "http", "nodePort": model.port}],
        },
    }


def deployments(model: ModelPlan, namespace: str, pod: Pod, *, api_key_mark: Any = None) -> list[dict[str, Any]]:
    """The engines: one Deployment, or one an engine where they start one after another, in that order. `api_key_mark`
    changes when the endpoint's key does.
    """
    if not pod.one_by_one:
        return [_deployment(model, namespace, pod, None, api_key_mark)]
    return [_deployment(model, namespace, pod, engine, api_key_mark) for engine in range(model.replicas)]


def _deployment(model: ModelPlan, namespace: str, pod: Pod, engine: int | None, api_key_mark: Any) -> dict[str, Any]:
    """Recreate, because a second pod would wait for ever for the GPU of the first."""
    life = model.lifecycle
    name, which = (
        (model.name, {})
        if engine is None
        else (names.engine_deployment(model.name, engine), {names.ENGINE_LABEL: str(engine)})
    )
    metadata, shm = _metadata(model, namespace, name), model.resources.shared_memory_mib
    selector, labels = {**names.model_selector(model.name), **which}, {**names.model_labels(model.name), **which}
    found_by = names.aibrix_labels(model.name) if pod.gateway == "aibrix" else {}
    volumes: list[dict[str, Any]] = [
        {"name": "models", "persistentVolumeClaim": {"claimName": pod.claim, "readOnly": True}},
        {"name": "tmp", "emptyDir": {"sizeLimit": f"{model.resources.scratch_mib}Mi"}},
    ]
    if pod.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shm}Mi"}})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, **_exceptions(model, api_key=api_key_mark is not None)},
        "spec": {
            "replicas": model.replicas if engine is None else 1,
            "revisionHistoryLimit": 3,
            "progressDeadlineSeconds": life.progress_deadline_seconds,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {
                    "labels": {**labels, **found_by},
                    # An environment value from a Secret is read at start only, so a new key has to start new pods.
                    **({"annotations": {"local-ai-lab/api-key": api_key_mark}} if api_key_mark is not None else {}),
                },
                "spec": {
                    **({"runtimeClassName": pod.runtime_class} if pod.runtime_class else {}),
                    "serviceAccountName": model.name,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": life.termination_grace_seconds,
                    "securityContext": {**pod_security(names.ENGINE_UID), "fsGroupChangePolicy": "OnRootMismatch"},
                    "containers": [_container(model, api_key=api_key_mark is not None, shm=pod.shared_memory)],
                    "volumes": volumes,
                },
            },
        },
    }


def _exceptions(model: ModelPlan, *, api_key: bool) -> dict[str, Any]:
    """What an image that no registry holds and an engine's own ways force, said where scanners and reviewers read
    it.
    """
    reasons = {}
    if "@sha256:" not in model.image:
        reasons["CKV_K8S_43"] = "no registry holds the image; its tag names the recipe that it is built from"
    if model.pull_policy == "Never":
        reasons["CKV_K8S_15"] = "there is no registry to pull from"
    if api_key:
        reasons["CKV_K8S_35"] = "the engine reads its key from the environment only"
    return {"annotations": skips(reasons)} if reasons else {}


def _container(model: ModelPlan, *, api_key: bool, shm: bool) -> dict[str, Any]:
    life = model.lifecycle
    environment: list[dict[str, Any]] = [{"name": k, "value": v} for k, v in sorted(model.environment.items())]
    if api_key:
        environment.append(
            {
                "name": model.engine.api_key_variable,
                "valueFrom": {"secretKeyRef": {"name": names.API_KEY_SECRET, "key": "apiKey"}},
            }
        )
    health = {"httpGet": {"path": model.engine.health_path, "port": "http"}}
    return {
        "name": model.engine.container,
        "image": model.image,
        "imagePullPolicy": model.pull_policy,
        "args": list(model.args),
        "env": environment,
        "ports": [{"name": "http", "containerPort": names.HTTP_PORT, "protocol": "TCP"}],
        "resources": _resources(model),
        "securityContext": container_security(read_only=model.read_only_root_filesystem),
        "startupProbe": {
            **health,
            "periodSeconds": life.startup_period_seconds,
            "failureThreshold": life.startup_failures,
            "timeoutSeconds": names.HEALTH_SECONDS,
        },
        "readinessProbe": {**health, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": names.HEALTH_SECONDS},
        "livenessProbe": {**health, "periodSeconds": 15, "failureThreshold": 8, "timeoutSeconds": names.HEALTH_SECONDS},
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(life.pre_stop_seconds)]}}},
        "volumeMounts": [
            {"name": "models", "mountPath": names.MODELS_MOUNT, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  (the pod's own emptyDir)
            *([{"name": "shm", "mountPath": "/dev/shm"}] if shm else []),  # noqa: S108
        ],
    }


def _resources(model: ModelPlan) -> dict[str, Any]:
    plan = model.resources
    gpus = {names.GPU: str(plan.gpus)} if plan.gpus else {}
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
