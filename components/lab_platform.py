"""The whole stack, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi

from components import types
from components.checks.inference_check import InferenceCheck, InferenceCheckArgs
from components.cluster.cluster import Cluster, ClusterArgs
from components.cluster.namespace_manifests import marks
from components.docker.containers import Containers, ContainersArgs
from components.exports import exports
from components.gateway.gateway import EnvoyGateway, EnvoyGatewayArgs, Gateway, GatewayArgs
from components.gateway.gateway_api import GatewayApi, GatewayApiArgs
from components.gpu.allocatable_gpus import AllocatableGpus, AllocatableGpusArgs
from components.gpu.device_plugin import DevicePlugin, DevicePluginArgs
from components.gpu.device_plugin_patch import DevicePluginPatch, DevicePluginPatchArgs
from components.gpu.nvidia_runtime import NvidiaRuntime, NvidiaRuntimeArgs
from components.serving.model import BehindGateway, Model, ModelArgs
from components.serving.model_cache import ModelCache, ModelCacheArgs
from components.serving.model_claim import ModelClaim, ModelClaimArgs
from components.serving.model_manifests import Pod
from components.serving.models_namespace import ModelsNamespace, ModelsNamespaceArgs
from components.serving.stack_manifests import cluster_ip
from stacks.plan import ClaimCachePlan, DockerPlan, ExistingPlan, Plan


@dataclass(frozen=True)
class LabPlatformArgs:
    """`secrets` holds the secret configuration values by key; `epoch` comes from the host state (see Cluster), `home`
    is the folder of the machine that ~ means, and `owner` marks what is this checkout's in somebody else's cluster.
    """

    plan: Plan
    secrets: Mapping[str, pulumi.Output[str]]
    epoch: int
    home: str
    owner: str = ""


Made = tuple[Sequence[pulumi.Resource], Mapping[str, Any]]
"""What must be there before the check, and what `pulumi stack output` shows of it."""


class LabPlatform(pulumi.ComponentResource):
    """Creates: runtime, cluster, device plugin and the wait for its GPUs, namespace, cache, models, gateway, check, in
    this order; or runtime, containers, check, where the target is plain Docker.
    """

    exports: Mapping[str, Any]
    """What `pulumi stack output` shows."""

    def __init__(self, name: str, args: LabPlatformArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan = args.plan
        super().__init__(types.LAB_PLATFORM, name, {"stack": plan.stack}, opts)
        before: list[pulumi.Resource] = []
        if plan.nvidia and plan.nvidia.host:
            runtime_args = NvidiaRuntimeArgs(plan.stack, plan.nvidia.host)
            before.append(NvidiaRuntime("nvidia-runtime", runtime_args, self._after()))
        serving, places = self._in_docker(args, before) if plan.target == "docker" else self._on_cluster(args, before)
        check_args = InferenceCheckArgs(plan, args.secrets.get("apiKey"))
        InferenceCheck("inference-check", check_args, self._after(*serving))
        self.exports = {**places, **exports(plan)}
        self.register_outputs({"planDigest": plan.digest})

    def _in_docker(self, args: LabPlatformArgs, before: list[pulumi.Resource]) -> Made:
        """Containers instead of pods."""
        plan, secrets = args.plan, args.secrets
        assert isinstance(plan.cluster, DockerPlan)  # noqa: S101  (the plan's target says so)
        containers_args = ContainersArgs(
            plan, plan.cluster, args.epoch, secrets.get("apiKey"), secrets.get("huggingFaceToken")
        )
        containers = Containers("containers", containers_args, self._after(*before))
        return [containers], {"endpoints": containers.urls}

    def _on_cluster(self, args: LabPlatformArgs, before: list[pulumi.Resource]) -> Made:
        """Cluster, device plugin, namespace, cache, models, gateway; in somebody else's cluster only what is in the
        namespace.
        """
        plan, target = args.plan, args.plan.kubernetes
        key, token = args.secrets.get("apiKey"), args.secrets.get("huggingFaceToken")
        space, version = target.namespace, target.kubernetes
        pods = target.pods if isinstance(target, ExistingPlan) else None
        cluster = Cluster("cluster", ClusterArgs(plan.stack, target, args.epoch), self._after(*before))
        plugin = self._device_plugin(plan, cluster)
        space_args = ModelsNamespaceArgs(space, version, key)
        if pods is not None:
            space_args = replace(space_args, hub_token=token, marks=marks(plan.stack, args.owner))
        namespace = ModelsNamespace("models", space_args, self._on(cluster))
        cache = self._cache(args, cluster, namespace)
        envoy = self._envoy(args, cluster, namespace)
        before_models = [*plugin, namespace, cache, *([envoy.secrets] if envoy else [])]
        pod, models = Pod.of(plan), list[Model]()
        for model in plan.start_order:
            earlier = models[-1:] if pod.one_by_one else []
            opts = self._on(cluster, *before_models, *earlier, gone_with=namespace.made if pods else None)
            front = None if envoy is None else BehindGateway(cluster_ip(model, plan))
            model_args = ModelArgs(model, space, plan.cache_folder, pod, pods, key, token, front)
            models.append(Model(model.name, model_args, opts))
        places = {"endpoints": {m.name: m.endpoint for m in plan.models}, "kubeconfig": cluster.kubeconfig}
        if pods is not None:
            return models, places
        if envoy:
            return [*models, envoy], places
        gateway = Gateway("gateway", GatewayArgs(plan.models, space), self._on(cluster, namespace, *models))
        return [*models, gateway], {**places, "endpoints": gateway.urls}

    def _envoy(
        self, args: LabPlatformArgs, cluster: Cluster, namespace: pulumi.Resource
    ) -> EnvoyGateway | GatewayApi | None:
        if (gateway := args.plan.gateway) is None:
            return None
        opts, where = self._on(cluster, namespace), (args.plan.stack, args.plan.kubernetes, args.epoch)
        if own := gateway.envoy_gateway:
            return GatewayApi("gateway", GatewayApiArgs(gateway, own, *where), opts)
        return EnvoyGateway("gateway", EnvoyGatewayArgs(gateway, *where), opts)

    def _cache(self, args: LabPlatformArgs, cluster: Cluster, namespace: ModelsNamespace) -> pulumi.Resource:
        cache, target = args.plan.model_cache, args.plan.kubernetes
        if isinstance(cache, ClaimCachePlan):
            opts = self._on(cluster, namespace, gone_with=namespace.made)
            return ModelClaim("model-cache", ModelClaimArgs(cache, target.namespace), opts)
        cache_args = ModelCacheArgs(cache, target.namespace, target.node, args.home)
        return ModelCache("model-cache", cache_args, self._on(cluster, namespace))

    def _device_plugin(self, plan: Plan, cluster: Cluster) -> list[pulumi.Resource]:
        """What offers the cards to the kubelet; nothing where the cluster does by itself."""
        nvidia = plan.nvidia
        if nvidia is None or nvidia.device_plugin is None or nvidia.device_plugin.mode == "existing":
            return []
        if nvidia.device_plugin.mode == "patched":
            patch_args = DevicePluginPatchArgs(nvidia.device_plugin, plan.kubernetes.identifier)
            return [DevicePluginPatch("device-plugin-patch", patch_args, self._on(cluster))]
        args = DevicePluginArgs(nvidia, nvidia.device_plugin, plan.kubernetes.kubernetes)
        plugin = DevicePlugin("device-plugin", args, self._on(cluster))
        return [plugin, AllocatableGpus("allocatable-gpus", AllocatableGpusArgs(plan), self._after(plugin))]

    def _after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(resources))

    def _on(
        self, cluster: Cluster, *resources: pulumi.Resource, gone_with: pulumi.Resource | None = None
    ) -> pulumi.ResourceOptions:
        """Options of a component whose objects live on the cluster, and go with it, or with `gone_with`."""
        on_cluster = pulumi.ResourceOptions(providers=[cluster.provider], deleted_with=gone_with or cluster.bootstrap)
        return pulumi.ResourceOptions.merge(self._after(*resources), on_cluster)
