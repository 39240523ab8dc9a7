"""One model: everything its resources need."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from stacks import names
from stacks.plan.base import Decision, Part
from stacks.plan.vllm import VllmPlan


class WeightsPlan(Part):
    """What must lie in the cache before the engine starts."""

    repository: str
    revision: str | None
    packages: tuple[str, ...]
    directory: str
    download_gib: float = Field(alias="downloadGiB")
    largest_rank: int | None = Field(
        default=None, exclude_if=lambda value: value is None, description="of a LoRA adapter; None: a whole model"
    )


class AdapterPlan(Part):
    """A LoRA adapter that is served beside its model. `name` is the `model` that clients send."""

    name: str
    weights: WeightsPlan


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
    serving_peak_gib: float = Field(
        default=0.0, alias="servingPeakGiB", description="what a step with prompt_logprobs may take beside the rest"
    )
    error_band_gib: float = Field(alias="errorBandGiB")
    kv_cache_gib: float = Field(
        alias="kvCacheGiB", description="left for the KV cache, the error band already taken off"
    )
    kv_needed_gib: float = Field(alias="kvNeededGiB", description="one request of max_model_len tokens")
    kv_tokens: int
    concurrency: float = Field(description="full-length requests that the KV cache holds at once")


class EstimatePlan(Part):
    """Upper bounds of speed from the card's memory bandwidth (stacks/planning/gpus/roofline.py): never reached, good
    for
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


EnginePlan = VllmPlan
"""Every engine's settings, told apart by `name`."""


class ModelPlan(Part):
    """One model: everything its resources need."""

    name: str
    task: names.Task = Field(
        default="chat",
        exclude_if=lambda value: value == "chat",  # plans of chat models are what they were
        description="what clients ask of it, and what the inference check asks",
    )
    engine: EnginePlan
    engine_version: str
    image: str
    pull_policy: Literal["IfNotPresent", "Never"]
    environment: dict[str, str]
    replicas: int
    port: int
    endpoint: str
    aliases: tuple[str, ...] = Field(default=(), description="further names that clients may send as `model`")
    weights: WeightsPlan
    draft_weights: WeightsPlan | None = Field(default=None, description="of a second model that proposes tokens")
    adapters: tuple[AdapterPlan, ...] = Field(default=(), exclude_if=lambda value: not value)
    memory: MemoryPlan
    estimate: EstimatePlan | None = None
    resources: ResourcesPlan
    lifecycle: LifecyclePlan
    read_only_root_filesystem: bool
    decisions: tuple[Decision, ...]

    @property
    def target(self) -> dict[str, Any]:
        """What the inference check is told of it; a chat model's task goes without saying."""
        told: dict[str, Any] = {"model": self.name, "endpoint": self.endpoint}
        told |= {} if self.task == "chat" else {"task": self.task}
        return told | ({"adapters": [adapter.name for adapter in self.adapters]} if self.adapters else {})

    @property
    def args(self) -> tuple[str, ...]:
        """The container's arguments."""
        return self.engine.arguments(
            model=f"{names.MODELS_MOUNT}/{self.weights.directory}",
            served_model_names=(self.name, *self.aliases),
            port=names.HTTP_PORT,
            shutdown_timeout=self.lifecycle.drain_seconds,
        )

    @property
    def all_weights(self) -> tuple[WeightsPlan, ...]:
        """Everything that must lie in the cache before the engine starts."""
        return tuple(self.fetched.values())

    @property
    def fetched(self) -> dict[str, WeightsPlan]:
        """The same, each by the name of the resource that fetches it. No name of a model has a dot."""
        found = {f"{self.name}-weights": self.weights}
        if self.draft_weights:
            found[f"{self.name}-draft-weights"] = self.draft_weights
        return found | {f"{self.name}.{adapter.name}-weights": adapter.weights for adapter in self.adapters}
