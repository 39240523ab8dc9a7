"""The Plan: what follows from a stack file and the catalogue, as literal values. JSON both ways; the same document
everywhere.

Sizes are MiB or GiB (2^20, 2^30) and durations are seconds, as the field names say.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

PLAN_FORMAT: Final = 1
_NOT_IN_DIGEST = frozenset({"decisions", "hostChanges", "memory", "estimate", "budgets", "cards"})


class Part(BaseModel):
    """The base of every part of a plan."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Decision(Part):
    """One value and why it is what it is.

    `kind`: stated (the stack file says so), derived (computed), default (ours or upstream's), degraded (a safe default
    given up).
    """

    name: str
    value: str
    kind: Literal["stated", "derived", "default", "degraded"]
    source: str
    reason: str


class HostChange(Part):
    """Something outside the cluster that `up` would do to the machine, in the words of a consent prompt."""

    kind: Literal["package", "service", "file", "folder", "network", "cluster", "build", "download"]
    what: str
    command: str | None = None
    root: bool = Field(description="whether it needs root")
    note: str | None = None


class MachinePlan(Part):
    """The machine as the plan takes it."""

    kind: Literal["nvidia", "cpu"]
    platform: Literal["linux", "wsl2"]
    gpu: str | None = None
    gpu_name: str | None = None
    compute_capability: str | None = None
    gpus: int = 0
    gpu_total_gib: float | None = Field(default=None, alias="gpuTotalGiB")
    linux_memory_gib: float = Field(alias="linuxMemoryGiB")
    cpus: int


class MinikubePlan(Part):
    """A minikube profile, with the exact command that makes it."""

    driver: Literal["minikube"] = "minikube"
    name: str
    kubeconfig: str
    identifier: str
    node: str
    version: str = Field(description="the minikube release that the command is written for")
    kubernetes: str
    address: str = Field(description="where the machine reaches node ports")
    start: tuple[str, ...] = Field(description="the command line that creates or starts the profile")
    disabled_addons: tuple[str, ...]
    memory_mib: int = Field(alias="memoryMiB")
    cpus: int
    provider: str = Field(description="the version of Pulumi's Kubernetes provider")


class EmbeddedPlan(Part):
    """The embedded cluster."""

    driver: Literal["embedded"] = "embedded"
    name: str
    kubeconfig: str
    identifier: str
    node: str
    kubernetes: str
    containerd: str
    etcd: str
    address: str = Field(description="where the machine reaches node ports")
    slot: int
    images: tuple[str, ...] = Field(description="images that are built here and imported into containerd")
    provider: str = Field(description="the version of Pulumi's Kubernetes provider")


ClusterPlan = Annotated[MinikubePlan | EmbeddedPlan, Field(discriminator="driver")]


class NvidiaPlan(Part):
    """What makes GPUs schedulable."""

    plugin_image: str
    plugin_pull_policy: str
    gpus: int
    read_only_root_filesystem: bool
    runtime: Literal["docker"] = Field(
        description="the container runtime of the machine that must know the NVIDIA runtime"
    )


class ModelCachePlan(Part):
    """Where weights are on the machine and on the node, and how much of them there is."""

    name: str = Field(description="the volume and its claim")
    host_path: str
    node_path: str
    capacity_gib: int = Field(alias="capacityGiB")


class WeightsPlan(Part):
    """What must lie in the cache before the engine starts."""

    repository: str
    revision: str | None
    packages: tuple[str, ...]
    directory: str
    download_gib: float = Field(alias="downloadGiB")


class MemoryPlan(Part):
    """The GPU or KV memory arithmetic of one engine, GiB (2^30)."""

    device: Literal["gpu", "cpu"]
    total_gib: float = Field(alias="totalGiB")
    desktop_gib: float = Field(alias="desktopGiB")
    context_gib: float = Field(alias="contextGiB")
    neighbours_gib: float = Field(default=0.0, alias="neighboursGiB", description="engines that share the card")
    budget_gib: float = Field(alias="budgetGiB", description="all that the engine may take beside its CUDA context")
    weights_gib: float = Field(alias="weightsGiB")
    activation_gib: float = Field(alias="activationGiB")
    non_torch_gib: float = Field(alias="nonTorchGiB")
    cuda_graphs_gib: float = Field(alias="cudaGraphsGiB")
    error_band_gib: float = Field(alias="errorBandGiB")
    kv_cache_gib: float = Field(
        alias="kvCacheGiB", description="left for the KV cache, the error band already taken off"
    )
    kv_needed_gib: float = Field(alias="kvNeededGiB", description="one request of max_model_len tokens")
    kv_bytes: int | None = Field(
        default=None, description="--kv-cache-memory-bytes; None where vLLM works it out from the utilization"
    )
    kv_dtype: Literal["auto", "fp8", "fp8_e5m2"] = "auto"
    kv_tokens: int
    concurrency: float = Field(description="full-length requests that the KV cache holds at once")


class EstimatePlan(Part):
    """Upper bounds of speed from the card's memory bandwidth (stacks/planning/roofline.py): never reached, good for
    comparing.
    """

    bandwidth_gb_s: float = Field(alias="bandwidthGBs", description="10^9 bytes a second")
    single_tokens_per_second: float = Field(description="at most, one full-length request alone")
    requests: int = Field(
        description="requests in flight for the next figure: as many as are admitted and held at full length"
    )
    total_tokens_per_second: float = Field(
        description="at most, all engines of this model with that many full-length requests"
    )
    step_milliseconds: float = Field(description="at least, between two tokens of a request when all of those run")


class SharePlan(Part):
    """One engine on one card."""

    model: str
    replica: int
    start_order: int = Field(description="engines of a card start one after another, each when the one before answers")
    fixed_gib: float = Field(
        alias="fixedGiB", description="weights, activations, non-torch, CUDA graphs, context and error band"
    )
    kv_cache_gib: float = Field(alias="kvCacheGiB")


class CardPlan(Part):
    """One card, and who has how much of it."""

    index: int
    total_gib: float = Field(alias="totalGiB")
    desktop_gib: float = Field(alias="desktopGiB")
    shares: tuple[SharePlan, ...]
    unused_gib: float = Field(alias="unusedGiB")


class BudgetPlan(Part):
    """One budget that all models of the machine share: checked where `need` is at most `have`."""

    name: str
    need: float
    have: float | None = Field(description="None where the stack file does not say how much there is")
    unit: Literal["GiB", "processors", "GPUs", "ports"]
    what: str


class ResourcesPlan(Part):
    """Requests and limits of one engine's container."""

    cpu_request: str
    cpu_limit: str
    memory_request_mib: int = Field(alias="memoryRequestMiB")
    memory_limit_mib: int = Field(alias="memoryLimitMiB")
    shared_memory_mib: int = Field(alias="sharedMemoryMiB")
    scratch_mib: int = Field(alias="scratchMiB")
    gpus: int


class LifecyclePlan(Part):
    """Start and stop budgets, ordered: startup probe < progress deadline < resource timeout."""

    download_seconds: int = Field(
        description="weights into the cache, before the engine starts, at the catalogued line speed with margin"
    )
    startup_period_seconds: int
    startup_failures: int
    progress_deadline_seconds: int
    timeout_seconds: int
    pre_stop_seconds: int
    drain_seconds: int
    termination_grace_seconds: int


class ModelPlan(Part):
    """One model: everything its resources need."""

    name: str
    engine: Literal["vllm"]
    engine_version: str
    image: str
    pull_policy: Literal["IfNotPresent", "Never"]
    args: tuple[str, ...]
    environment: dict[str, str]
    replicas: int
    port: int
    endpoint: str
    weights: WeightsPlan
    memory: MemoryPlan
    estimate: EstimatePlan | None = None
    resources: ResourcesPlan
    lifecycle: LifecyclePlan
    read_only_root_filesystem: bool
    decisions: tuple[Decision, ...]


class Plan(Part):
    """One stack, decided."""

    format: Literal[1] = PLAN_FORMAT
    stack: str
    machine: MachinePlan
    cluster: ClusterPlan
    nvidia: NvidiaPlan | None
    model_cache: ModelCachePlan
    models: tuple[ModelPlan, ...]
    cards: tuple[CardPlan, ...] = ()
    shared_cards: bool = Field(default=False, description="whether engines share a card, which needs the sharing layer")
    budgets: tuple[BudgetPlan, ...] = ()
    auth: Literal["apiKey", "none"]
    consent: Literal["ask", "allow"] = Field(description="whether `up` asks before it changes the machine")
    hugging_face_token: bool
    host_changes: tuple[HostChange, ...]
    decisions: tuple[Decision, ...]

    @property
    def digest(self) -> str:
        """Twelve hex digits of what will run; reasons, host changes and shown arithmetic do not count."""
        text = json.dumps(_without(self.model_dump(mode="json", by_alias=True), _NOT_IN_DIGEST), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def all_decisions(self) -> tuple[Decision, ...]:
        """The stack's decisions and then each model's, names prefixed with the model."""
        own = [d.model_copy(update={"name": f"{m.name}.{d.name}"}) for m in self.models for d in m.decisions]
        return (*self.decisions, *own)

    def to_json(self) -> str:
        """The plan as JSON text, stable byte for byte."""
        return json.dumps(
            {**self.model_dump(mode="json", by_alias=True), "digest": self.digest}, indent=2, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote. Raises ValueError where the text is no plan or its digest does not fit."""
        document = json.loads(text)
        said = document.pop("digest", None)
        plan = cls.model_validate(document)
        if said != plan.digest:
            raise ValueError(f"the plan's digest is {plan.digest}, the document says {said}")
        return plan


def canonical(part: Part) -> str:
    """A slice of the plan as a host module's specification: sorted, without blanks, equal for equal content."""
    return json.dumps(part.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))


def _without(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(v, keys) for v in value] if isinstance(value, list) else value
