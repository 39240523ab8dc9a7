"""The whole stack, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pulumi

from components import types
from components.cluster import Cluster
from components.device_plugin import DevicePlugin
from components.gateway import Gateway
from components.inference_check import InferenceCheck
from components.model import Model
from components.model_cache import ModelCache
from components.models_namespace import ModelsNamespace
from components.nvidia_runtime import NvidiaRuntime
from stacks.planning.plan import Decision, ModelPlan, Plan


class LabPlatform(pulumi.ComponentResource):
    """Creates: runtime, cluster, device plugin, namespace, cache, models, gateway, check, in this order.

    `secrets` holds the secret configuration values by key; `epoch` comes from the host state (see Cluster).
    """

    def __init__(self, name: str, plan: Plan, secrets: Mapping[str, pulumi.Output[str]], epoch: int) -> None:
        super().__init__(types.LAB_PLATFORM, name, None, None)
        api_key, token = secrets.get("apiKey"), secrets.get("huggingFaceToken")
        runtime = (
            [NvidiaRuntime("nvidia-runtime", plan.nvidia, stack=plan.stack, opts=self._after())] if plan.nvidia else []
        )
        cluster = Cluster("cluster", plan.cluster, stack=plan.stack, epoch=epoch, opts=self._after(*runtime))
        kubernetes = cluster.kubernetes
        plugin = [DevicePlugin("device-plugin", plan.nvidia, kubernetes, opts=self._after())] if plan.nvidia else []
        namespace = ModelsNamespace("models", kubernetes, api_key=api_key, opts=self._after())
        cache = ModelCache(
            "model-cache", plan.model_cache, kubernetes, node=plan.cluster.node, opts=self._after(namespace)
        )
        models = {
            model.name: Model(
                model.name,
                model,
                plan.model_cache,
                kubernetes,
                api_key=api_key,
                hugging_face_token=token,
                opts=self._after(*plugin, namespace, cache),
            )
            for model in plan.models
        }
        gateway = Gateway("gateway", plan.models, models, kubernetes, opts=self._after(namespace))
        InferenceCheck("inference-check", plan, api_key=api_key, opts=self._after(*models.values(), gateway))
        self.exports = _exports(plan)
        self.register_outputs({"planDigest": plan.digest})

    def _after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(resources))


def _exports(plan: Plan) -> dict[str, Any]:
    """What `pulumi preview` and `pulumi stack output` show: the endpoints and why every value is what it is."""
    return {
        "endpoints": {model.name: model.endpoint for model in plan.models},
        "models": {model.name: _model_export(model) for model in plan.models},
        "decisions": _reasons(plan.decisions),
        "hostChanges": [change.what for change in plan.host_changes],
        "kubeconfig": plan.cluster.kubeconfig,
        "planDigest": plan.digest,
    }


def _model_export(model: ModelPlan) -> dict[str, Any]:
    # one flag with its value a line; Pulumi cuts long text
    args = re.findall(r"--\S+(?: (?!--)\S+)*", " ".join(model.args))
    return {"image": model.image, "args": args, "decisions": _reasons(model.decisions)}


def _reasons(decisions: tuple[Decision, ...]) -> dict[str, str]:
    return {d.name: f"{d.value}  ({d.kind}: {d.reason})" for d in decisions}
