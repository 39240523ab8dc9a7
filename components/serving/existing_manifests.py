"""What a model's objects have more in somebody else's cluster: its pods fetch their weights into a claim, and go where
the stack file sends them.
"""

from __future__ import annotations

from typing import Any, Final

from components.serving import model_manifests as model
from stacks import names
from stacks.plan import ClaimCachePlan, ModelPlan, PodsPlan, WeightsPlan

FETCH: Final = """\
import pathlib, sys
from huggingface_hub import snapshot_download
for repository, revision, folder in zip(*[iter(sys.argv[1:])] * 3):
    done = pathlib.Path(folder, ".complete")
    if done.exists():
        continue
    print(f"fetching {repository} at {revision}", flush=True)
    snapshot_download(
        repository, revision=revision, local_dir=folder,
        allow_patterns=["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "NOTICE*", "README*"],
        ignore_patterns=["original/*", "*.gguf", "onnx/*"],
    )
    done.touch()
"""
"""The init container's program, for the Python and the Hub's client that the engine's image has. A folder that is whole
is not fetched again, so that a restart needs no network.
"""

_INIT = "weights"
_DNS, _HTTPS = 53, 443


def claim(cache: ClaimCachePlan, namespace: str) -> dict[str, Any]:
    """The claim that the cluster's own storage fills."""
    named = {"storageClassName": cache.class_name} if cache.class_name else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": cache.name,
            "namespace": namespace,
            "labels": names.common_labels("model-cache"),
            "annotations": names.CLAIM_ANNOTATIONS,
        },
        "spec": {
            "accessModes": [cache.access_mode],
            **named,
            "resources": {"requests": {"storage": f"{cache.capacity_gib}Gi"}},
        },
    }


def network_policy(plan: ModelPlan, namespace: str) -> dict[str, Any]:
    """The engine's HTTP port may be reached from its namespace; its pod may resolve names and reach HTTPS."""
    policy = model.network_policy(plan, namespace)
    inside = {"ports": [{"protocol": "TCP", "port": names.HTTP_PORT}], "from": [{"podSelector": {}}]}
    dns = [{"protocol": protocol, "port": _DNS} for protocol in ("UDP", "TCP")]
    outside = [{"ports": dns}, {"ports": [{"protocol": "TCP", "port": _HTTPS}]}]
    return {**policy, "spec": {**policy["spec"], "ingress": [inside], "egress": outside}}


def deployment(
    plan: ModelPlan, namespace: str, alike: model.Pod, *, pods: PodsPlan, hub_token: bool, api_key_mark: Any = None
) -> dict[str, Any]:
    """The engines, with an init container that fetches the weights; `hub_token`: whether the Hub is shown one."""
    (made,) = model.deployments(plan, namespace, alike, api_key_mark=api_key_mark)
    spec = made["spec"]
    pod = spec["template"]["spec"]
    volumes = [
        {**v, "persistentVolumeClaim": {"claimName": alike.claim}} if "persistentVolumeClaim" in v else v
        for v in pod["volumes"]
    ]
    pod = {
        **pod,
        "initContainers": [_fetch(plan, pod["containers"][0], hub_token=hub_token)],
        "volumes": volumes,
        "tolerations": [{"key": key, "operator": "Exists"} for key in pods.tolerations],
        **({"nodeSelector": pods.node_selector} if pods.node_selector else {}),
        **({"runtimeClassName": pods.runtime_class} if pods.runtime_class else {}),
        **({"schedulerName": pods.scheduler} if pods.scheduler else {}),
        **({"affinity": _together()} if pods.one_node else {}),
    }
    template = {**spec["template"], "spec": pod}
    seconds = spec["progressDeadlineSeconds"] + plan.lifecycle.download_seconds
    return {**made, "spec": {**spec, "progressDeadlineSeconds": seconds, "template": template}}


def hub_token_secret(namespace: str, token: Any) -> dict[str, Any]:
    """The Hub's token for gated models; `token` is a Pulumi secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.HUB_TOKEN_SECRET,
            "namespace": namespace,
            "labels": names.common_labels("model-cache"),
        },
        "type": "Opaque",
        "stringData": {"token": token},
    }


def _together() -> dict[str, Any]:
    """All engines of the stack on one node: a ReadWriteOnce volume is attached to one node at a time."""
    term = {
        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "model"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _fetch(plan: ModelPlan, engine: dict[str, Any], *, hub_token: bool) -> dict[str, Any]:
    environment = [
        {"name": "HOME", "value": "/tmp"},  # noqa: S108  (the pod's own emptyDir)
        {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
        {"name": "HF_XET_CHUNK_CACHE_SIZE_BYTES", "value": "0"},  # /tmp is small
    ]
    if hub_token:
        reference = {"name": names.HUB_TOKEN_SECRET, "key": "token"}
        environment.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})  # type: ignore[dict-item]
    # a pod needs the larger of its init containers' and its containers' requests: no more than the engine's
    resources = {
        kind: {name: value for name, value in asked.items() if name != names.GPU}
        for kind, asked in engine["resources"].items()
    }
    mounts = [m for m in engine["volumeMounts"] if m["name"] != "shm"]
    return {
        "name": _INIT,
        "image": engine["image"],
        "imagePullPolicy": engine["imagePullPolicy"],
        "command": ["python3", "-c", FETCH],
        "args": [word for weights in plan.all_weights for word in _wanted(weights)],
        "env": environment,
        "resources": resources,
        "securityContext": engine["securityContext"],
        "volumeMounts": [{k: v for k, v in m.items() if k != "readOnly"} for m in mounts],
    }


def _wanted(weights: WeightsPlan) -> tuple[str, str, str]:
    return weights.repository, weights.revision or "main", f"{names.MODELS_MOUNT}/{weights.directory}"
