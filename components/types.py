"""The type tokens of our components: lab:<layer>:<Class>. They are part of every URN, so that they never change."""

from __future__ import annotations

from typing import Final

LAB_PLATFORM: Final = "lab:index:LabPlatform"
CLUSTER: Final = "lab:cluster:Cluster"
NVIDIA_RUNTIME: Final = "lab:gpu:NvidiaRuntime"
DEVICE_PLUGIN: Final = "lab:gpu:DevicePlugin"
DEVICE_PLUGIN_PATCH: Final = "lab:gpu:DevicePluginPatch"
ALLOCATABLE_GPUS: Final = "lab:gpu:AllocatableGpus"
MODELS_NAMESPACE: Final = "lab:serving:ModelsNamespace"
MODEL_CACHE: Final = "lab:serving:ModelCache"
MODEL_CLAIM: Final = "lab:serving:ModelClaim"
MODEL: Final = "lab:serving:Model"
GATEWAY: Final = "lab:gateway:Gateway"
ENVOY_GATEWAY: Final = "lab:gateway:EnvoyGateway"
GATEWAY_API: Final = "lab:gateway:GatewayApi"
AIBRIX_GATEWAY: Final = "lab:gateway:AIBrixGateway"
CONTAINERS: Final = "lab:docker:Containers"
INFERENCE_CHECK: Final = "lab:checks:InferenceCheck"
