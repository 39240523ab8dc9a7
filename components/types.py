"""The type tokens of our components, in one grammar: lab:<module>:<Class>. They are part of every URN: never change
one.
"""

from __future__ import annotations

from typing import Final

LAB_PLATFORM: Final = "lab:lab_platform:LabPlatform"
CLUSTER: Final = "lab:cluster:Cluster"
NVIDIA_RUNTIME: Final = "lab:nvidia_runtime:NvidiaRuntime"
DEVICE_PLUGIN: Final = "lab:device_plugin:DevicePlugin"
MODELS_NAMESPACE: Final = "lab:models_namespace:ModelsNamespace"
MODEL_CACHE: Final = "lab:model_cache:ModelCache"
MODEL: Final = "lab:model:Model"
GATEWAY: Final = "lab:gateway:Gateway"
INFERENCE_CHECK: Final = "lab:inference_check:InferenceCheck"
