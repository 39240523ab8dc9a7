"""What a stack file may say: the owner's intent for one machine, and no derived number."""

from stacks.settings.cluster import (
    ClaimStorage,
    ClusterSettings,
    DockerCluster,
    EmbeddedCluster,
    ExistingCluster,
    K3sCluster,
    MinikubeCluster,
)
from stacks.settings.gateway import (
    AIBrixGateway,
    EnvoyGateway,
    FrontGateway,
    GatewayApi,
    GatewaySettings,
    NamedModels,
    NoGateway,
    ThroughEnvoyGateway,
)
from stacks.settings.gpu import GpuSettings, Mig, Mps, NoSharing, SharingSettings, TimeSlicing
from stacks.settings.lora import Lora, LoraModule
from stacks.settings.machine import CpuMachine, NvidiaMachine
from stacks.settings.models import ModelSettings, Pins, Speculative, VllmModel
from stacks.settings.options import ModelCache, Security
from stacks.settings.stack import PROJECT, SECRET_KEYS, Settings

__all__ = [
    "PROJECT",
    "SECRET_KEYS",
    "AIBrixGateway",
    "ClaimStorage",
    "ClusterSettings",
    "CpuMachine",
    "DockerCluster",
    "EmbeddedCluster",
    "EnvoyGateway",
    "ExistingCluster",
    "FrontGateway",
    "GatewayApi",
    "GatewaySettings",
    "GpuSettings",
    "K3sCluster",
    "Lora",
    "LoraModule",
    "Mig",
    "MinikubeCluster",
    "ModelCache",
    "ModelSettings",
    "Mps",
    "NamedModels",
    "NoGateway",
    "NoSharing",
    "NvidiaMachine",
    "Pins",
    "Security",
    "Settings",
    "SharingSettings",
    "Speculative",
    "ThroughEnvoyGateway",
    "TimeSlicing",
    "VllmModel",
]
