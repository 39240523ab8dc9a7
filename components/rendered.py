"""What the program declares, made from the plan alone, without Pulumi and without a secret. A test compares the two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from components.cluster import namespace_manifests as namespace
from components.docker import compose_manifests as compose
from components.gateway import envoy_gateway_manifests as envoy_gateway
from components.gateway import envoy_kubernetes_manifests as envoy
from components.gateway import gateway_parts_manifests
from components.gpu import device_plugin_manifests as device_plugin
from components.serving import existing_manifests as existing
from components.serving import model_manifests as model
from components.serving import stack_manifests as stack_objects
from stacks.plan import DockerPlan, Plan, canonical

WITHHELD: Final = "withheld"
"""What stands here in place of a secret, or of what is made from one."""

_NOTE: Final = {"local-ai-lab/withheld": "its data is secret"}


class Name(NamedTuple):
    """One Kubernetes resource of the program. Its kind belongs to it: a model may be called as another resource is."""

    kind: str
    name: str


@dataclass(frozen=True)
class Command:
    """A Command of the program and its environment. A changed trigger replaces it, anything else updates it."""

    runs: str
    environment: Mapping[str, str]
    triggers: tuple[str, ...] = ()


def objects(plan: Plan, *, home: str = "~", owner: str = WITHHELD) -> dict[Name, dict[str, Any]]:
    """Every Kubernetes object of the stack, what it depends on before it. What a Secret holds is left
    out; `home` stands for a leading ~ of paths on the node, `owner` for the checkout in somebody else's cluster.
    """
    declared: list[tuple[str, dict[str, Any]]] = []
    if plan.target != "kubernetes":
        return {}
    foreign = plan.cluster.foreign
    if plan.nvidia and plan.nvidia.device_plugin and plan.nvidia.device_plugin.mode == "owned":
        declared += device_plugin.objects(plan.nvidia, plan.nvidia.device_plugin, plan.kubernetes.kubernetes)
    space = plan.kubernetes.namespace
    declared += [
        (
            "models",
            namespace.namespace(
                space,
                pod_security="restricted",
                component="models",
                kubernetes=plan.kubernetes.kubernetes,
                annotations=namespace.marks(plan.stack, owner) if foreign else None,
            ),
        ),
        ("models-default-deny", namespace.default_deny(space)),
    ]
    if plan.auth == "apiKey":
        declared.append(("models-api-key", _withheld(namespace.api_key_secret(space, WITHHELD))))
    if foreign and plan.hugging_face_token:
        declared.append(("models-hub-token", _withheld(existing.hub_token_secret(space, WITHHELD))))
    declared += stack_objects.cache(plan, home)
    if plan.gateway and plan.gateway.envoy_gateway:
        own = plan.gateway.envoy_gateway
        declared += gateway_parts_manifests.objects(plan.gateway, own, space, plan.kubernetes.kubernetes)
    elif plan.gateway:
        declared += envoy.objects(plan.gateway, space)
    mark = WITHHELD if plan.auth == "apiKey" else model.OF_THE_GATEWAY if plan.gateway else None
    for served in plan.start_order:
        declared += stack_objects.engines(served, plan, api_key_mark=mark)
    if not foreign and not plan.gateway:
        declared += [(f"{served.name}-endpoint", model.endpoint(served, space)) for served in plan.models]
    return {Name(manifest["kind"], name): manifest for name, manifest in declared}


def releases(plan: Plan) -> dict[str, dict[str, Any]]:
    """Every Helm release of the stack by its name: the arguments of helm.v3.Release. What it installs is upstream's."""
    own = plan.gateway.envoy_gateway if plan.gateway else None
    return {envoy_gateway.RELEASE: told} if own and (told := envoy_gateway.release(own)) else {}


def compose_document(plan: Plan) -> dict[str, Any]:
    """The compose file of a stack of plain Docker; empty for another target."""
    return compose.compose_file(plan, plan.cluster) if isinstance(plan.cluster, DockerPlan) else {}


def commands(plan: Plan) -> dict[str, Command]:
    """Every Command of the stack by its name, in the order of a first run; secret values are withheld."""
    found: dict[str, Command] = {}
    if plan.nvidia and plan.nvidia.host:
        spec = {"LAB_STACK": plan.stack, "LAB_SPEC": canonical(plan.nvidia.host)}
        found["nvidia-runtime-ensure"] = Command("python -m host nvidia ensure", spec)
    if plan.target == "kubernetes":
        spec = {"LAB_STACK": plan.stack, "LAB_SPEC": canonical(plan.cluster)}
        found["cluster-ensure"] = Command(f"python -m host {plan.cluster.driver} ensure", spec)
        if plan.gateway:
            spec = {"LAB_STACK": plan.stack, "LAB_SPEC": envoy.secrets_spec(plan.gateway, plan.kubernetes)}
            found["gateway-secrets"] = Command("python -m host gateway ensure", spec)
        if plan.nvidia and plan.nvidia.device_plugin and plan.nvidia.device_plugin.mode == "owned":
            wait = device_plugin.wait_environment(plan)
            found["allocatable-gpus-run"] = Command("python -m probes allocatable_gpus", wait)
    folder = plan.cache_folder
    for served in plan.models if folder else ():
        for name, weights in served.fetched.items():
            spec = {"LAB_SPEC": canonical(weights), "LAB_CACHE": folder or ""}
            if plan.hugging_face_token:
                spec["HF_TOKEN"] = WITHHELD
            found[name] = Command("python -m host models ensure", spec)
    if isinstance(plan.cluster, DockerPlan):
        document = json.dumps(compose_document(plan), sort_keys=True, separators=(",", ":"))
        spec = {"LAB_STACK": plan.stack, "LAB_SPEC": document}
        if plan.auth == "apiKey":
            spec["LAB_API_KEY"] = WITHHELD
        found["containers-ensure"] = Command("python -m host docker ensure", spec)
    targets = [served.target for served in plan.models]
    spec = {
        "LAB_STACK": plan.stack,
        **plan.where,
        "LAB_TARGETS": json.dumps(targets, separators=(",", ":"), sort_keys=True),
    }
    if plan.auth == "apiKey":
        spec["LAB_API_KEY"] = WITHHELD
    found["inference-check-run"] = Command("python -m probes inference_check", spec, (plan.digest,))
    return found


def _withheld(secret: Mapping[str, Any]) -> dict[str, Any]:
    """The Secret without what it holds, and still an object that Kubernetes takes."""
    rest = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    return {**rest, "metadata": {**rest["metadata"], "annotations": dict(_NOTE)}}
