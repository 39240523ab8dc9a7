"""The plan: literal values that follow from a stack file and the catalogue; decides nothing and imports no
catalogue.
"""

from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.base import Decision, HostChange, Part, canonical
from stacks.plan.cluster import (
    ClaimPlan,
    ClusterPlan,
    DockerPlan,
    EmbeddedPlan,
    ExistingPlan,
    K3sPlan,
    KubernetesPlan,
    MinikubePlan,
    PodNeedPlan,
    PodsPlan,
    TargetPlan,
)
from stacks.plan.document import PLAN_FORMAT, Plan
from stacks.plan.envoy_gateway import EnvoyGatewayPlan, PodSizePlan
from stacks.plan.gateway import BackendPlan, GatewayPlan
from stacks.plan.gpu import (
    CardPlan,
    DevicePluginMode,
    DevicePluginPlan,
    NvidiaHostPlan,
    NvidiaPlan,
    NvidiaRuntime,
    NvidiaStep,
    RuntimeClassPlan,
    SharePlan,
    SharingPlan,
)
from stacks.plan.machine import BudgetPlan, MachinePlan
from stacks.plan.model import (
    AdapterPlan,
    EstimatePlan,
    LifecyclePlan,
    MemoryPlan,
    ModelPlan,
    ResourcesPlan,
    WeightsPlan,
)
from stacks.plan.storage import ClaimCachePlan, ModelCachePlan
from stacks.plan.vllm import VllmPlan

__all__ = [
    "PLAN_FORMAT",
    "AIBrixPlan",
    "AdapterPlan",
    "BackendPlan",
    "BudgetPlan",
    "CardPlan",
    "ClaimCachePlan",
    "ClaimPlan",
    "ClusterPlan",
    "Decision",
    "DevicePluginMode",
    "DevicePluginPlan",
    "DockerPlan",
    "EmbeddedPlan",
    "EnvoyGatewayPlan",
    "EstimatePlan",
    "ExistingPlan",
    "GatewayPlan",
    "HostChange",
    "K3sPlan",
    "KubernetesPlan",
    "LifecyclePlan",
    "MachinePlan",
    "MemoryPlan",
    "MinikubePlan",
    "ModelCachePlan",
    "ModelPlan",
    "NvidiaHostPlan",
    "NvidiaPlan",
    "NvidiaRuntime",
    "NvidiaStep",
    "Part",
    "Plan",
    "PodNeedPlan",
    "PodSizePlan",
    "PodsPlan",
    "ResourcesPlan",
    "RuntimeClassPlan",
    "SharePlan",
    "SharingPlan",
    "TargetPlan",
    "VllmPlan",
    "WeightsPlan",
    "canonical",
]
