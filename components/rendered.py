"""What the program declares, made from the plan alone, without Pulumi and without a secret. A test compares the two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from components.manifests import device_plugin, model, model_cache, namespace
from stacks import names
from stacks.planning.plan import ModelPlan, Plan, canonical

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


def objects(plan: Plan) -> dict[Name, dict[str, Any]]:
    """Every Kubernetes object of the stack, what it depends on before it. What a Secret holds is left out."""
    declared: list[tuple[str, dict[str, Any]]] = []
    if plan.nvidia:
        space = names.NVIDIA_NAMESPACE
        declared += [
            ("device-plugin-namespace", namespace.namespace(space, pod_security="privileged", component="nvidia")),
            ("device-plugin-default-deny", namespace.default_deny(space)),
            ("device-plugin", device_plugin.daemon_set(plan.nvidia)),
        ]
    space = names.MODELS_NAMESPACE
    declared += [
        ("models", namespace.namespace(space, pod_security="restricted", component="models")),
        ("models-default-deny", namespace.default_deny(space)),
    ]
    if plan.auth == "apiKey":
        declared.append(("models-api-key", _withheld(namespace.api_key_secret(WITHHELD))))
    declared += [
        ("model-cache-class", model_cache.storage_class()),
        ("model-cache-volume", model_cache.persistent_volume(plan.model_cache, plan.cluster.node)),
        ("model-cache-claim", model_cache.persistent_volume_claim(plan.model_cache)),
    ]
    for served in plan.models:
        declared += _model(served, plan)
    declared += [(f"{served.name}-endpoint", model.endpoint(served)) for served in plan.models]
    return {Name(manifest["kind"], name): manifest for name, manifest in declared}


def commands(plan: Plan) -> dict[str, Command]:
    """Every Command of the stack by its name, in the order of a first run; secret values are withheld."""
    found: dict[str, Command] = {}
    if plan.nvidia:
        spec = {"LAB_STACK": plan.stack, "LAB_SPEC": canonical(plan.nvidia)}
        found["nvidia-runtime-ensure"] = Command("python -m host nvidia ensure", spec)
    spec = {"LAB_STACK": plan.stack, "LAB_SPEC": canonical(plan.cluster)}
    found["cluster-ensure"] = Command(f"python -m host {plan.cluster.driver} ensure", spec)
    for served in plan.models:
        spec = {"LAB_SPEC": canonical(served.weights), "LAB_CACHE": plan.model_cache.host_path}
        if plan.hugging_face_token:
            spec["HF_TOKEN"] = WITHHELD
        found[f"{served.name}-weights"] = Command("python -m host models ensure", spec)
    targets = [{"model": served.name, "endpoint": served.endpoint} for served in plan.models]
    spec = {
        "LAB_STACK": plan.stack,
        "LAB_KUBECONFIG": plan.cluster.kubeconfig,
        "LAB_TARGETS": json.dumps(targets, separators=(",", ":"), sort_keys=True),
    }
    if plan.auth == "apiKey":
        spec["LAB_API_KEY"] = WITHHELD
    found["inference-check-run"] = Command("python -m probes inference_check", spec, (plan.digest,))
    return found


def _model(served: ModelPlan, plan: Plan) -> list[tuple[str, dict[str, Any]]]:
    mark = WITHHELD if plan.auth == "apiKey" else None  # a digest of the key
    return [
        (f"{served.name}-account", model.service_account(served)),
        (f"{served.name}-network", model.network_policy(served)),
        (f"{served.name}-disruption", model.disruption_budget(served)),
        (served.name, model.deployment(served, claim=plan.model_cache.name, api_key_mark=mark)),
        (f"{served.name}-service", model.service(served)),
    ]


def _withheld(secret: Mapping[str, Any]) -> dict[str, Any]:
    """The Secret without what it holds, and still an object that Kubernetes takes."""
    rest = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    return {**rest, "metadata": {**rest["metadata"], "annotations": dict(_NOTE)}}
