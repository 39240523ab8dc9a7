"""A cluster driver and a serving engine that exist in tests only: the proof that both walls stand.

`install` adds them to the unions and the registries, which is what a real one's lines there do; nothing else of the
product is changed. Meant for a fresh interpreter: what is installed stays.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from stacks.catalog import Image, Model
from stacks.measured import Row, Start
from stacks.plan import (
    AdapterPlan,
    HostChange,
    KubernetesPlan,
    LifecyclePlan,
    MachinePlan,
    ModelPlan,
    NvidiaRuntime,
    ResourcesPlan,
    VllmPlan,
)
from stacks.plan.engine import EngineSettings
from stacks.planning.clusters.driver import common
from stacks.planning.draft import Inputs, Notes
from stacks.planning.engines.engine import OnCpu
from stacks.planning.engines.vllm import Vllm
from stacks.planning.engines.vllm.on_gpu import GpuDraft
from stacks.settings import EmbeddedCluster, MinikubeCluster, NvidiaMachine, VllmModel
from stacks.settings.base import Intent
from stacks.settings.cluster import Cluster


class PaperCluster(Cluster):
    """What a stack file says."""

    machines: ClassVar[frozenset[str]] = frozenset({"nvidia", "cpu"})
    why_not: ClassVar[str] = "paper carries anything"
    driver: Literal["paper"] = Field(description="A cluster on paper.")
    pages: int = 3


class PaperPlan(KubernetesPlan):
    """Its slice of the plan."""

    driver: Literal["paper"] = "paper"
    pages: int


class Paper:
    """The driver's pure half."""

    name: ClassVar[str] = "paper"
    title: ClassVar[str] = "a cluster on paper"
    deployable: ClassVar[bool] = False
    nvidia_runtime: ClassVar[NvidiaRuntime | None] = "docker"
    provider_fact: ClassVar[str] = "minikube.kubernetesProvider"
    eviction_fact: ClassVar[str] = "eviction.minikube"

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> PaperPlan:
        cluster = inputs.settings.cluster
        assert isinstance(cluster, PaperCluster)
        notes.decide("cluster.pages", cluster.pages, "stated", "stack file", "what was written")
        return PaperPlan(name="paper", node="page-1", kubernetes="v1.36.3", pages=cluster.pages, **common(inputs, self))

    def host_changes(self, inputs: Inputs, plan: PaperPlan) -> list[HostChange]:
        return [HostChange(kind="cluster", what=f"{plan.pages} pages are folded", root=False)]

    def enforces_network_policy(self, inputs: Inputs) -> bool:
        return True

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        return linux_memory

    def system_memory(self, inputs: Inputs) -> float:
        return 0.0

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        return 1.0, "paper"

    def address(self, inputs: Inputs) -> str:
        return "192.0.2.1"

    def cache_path_on_node(self, inputs: Inputs) -> str:
        return "/paper"


class EchoModel(Intent):
    """What a stack file says of a model that is served by the engine."""

    name: str
    engine: Literal["echo"]
    model: str
    context_tokens: int
    concurrent_requests: int = 1
    revision: str | None = None
    replicas: int = 1
    priority: int = 1
    port: int = 30081
    environment: dict[str, str] = Field(default_factory=dict)


class EchoPlan(EngineSettings):
    """What the engine is told."""

    container: ClassVar[str] = "echo"
    api_key_variable: ClassVar[str] = "ECHO_KEY"
    health_path: ClassVar[str] = "/alive"
    name: Literal["echo"] = "echo"

    def arguments(
        self, *, model: str, served_model_names: tuple[str, ...], port: int, shutdown_timeout: int
    ) -> tuple[str, ...]:
        return ("--echo", model, f"--as={served_model_names[0]}", f"--length={self.max_model_len}")


VLLM = VllmPlan(dtype="float32", max_model_len=1, max_num_seqs=1, max_num_batched_tokens=1, gpu_memory_utilization=None)


class Echo:
    """The engine: it has vLLM's memory and other arguments, on processors only."""

    name: ClassVar[str] = "echo"
    title: ClassVar[str] = "an engine that repeats"
    _vllm = Vllm()

    def image(self, spec: EchoModel, inputs: Inputs) -> Image:
        return inputs.catalog.images["vllm-cpu-embedded"]

    def check(self, spec: EchoModel, model: Model, image: Image, notes: Notes) -> None:
        notes.decide("maxModelLen", spec.context_tokens, "stated", "stack file", "contextTokens")

    def on_card(
        self, spec: EchoModel, model: Model, machine: NvidiaMachine, image: Image, inputs: Inputs, notes: Notes
    ) -> GpuDraft:
        raise NotImplementedError

    def on_cpu(self, spec: EchoModel, model: Model, inputs: Inputs, notes: Notes) -> OnCpu:
        like = VllmModel(name=spec.name, model=spec.model, context_tokens=spec.context_tokens)
        cpu = self._vllm.on_cpu(like, model, inputs, notes)
        told = EchoPlan(max_model_len=spec.context_tokens, max_num_seqs=spec.concurrent_requests)
        return OnCpu(told, cpu.memory, cpu.activation_gib)

    def decide(self, placed: object, notes: Notes) -> None:
        raise NotImplementedError

    def resources(
        self, spec: EchoModel, engine: EchoPlan, model: Model, activation_gib: float, inputs: Inputs, notes: Notes
    ) -> ResourcesPlan:
        like = VllmModel(name=spec.name, model=spec.model, context_tokens=spec.context_tokens)
        return self._vllm.resources(like, VLLM, model, activation_gib, inputs, notes)

    def lifecycle(
        self, engine: EchoPlan, model: Model, image: Image, inputs: Inputs, *, download_gib: float, before: int
    ) -> LifecyclePlan:
        return self._vllm.lifecycle(VLLM, model, image, inputs, download_gib=download_gib, before=before)

    def learned(self, plan: ModelPlan, machine: MachinePlan, model: str, log: str) -> Start | None:
        return None

    def compared(self, plan: ModelPlan, start: Start) -> list[Row]:
        raise NotImplementedError

    def second_model(self, spec: EchoModel) -> str | None:
        return None

    def adapters(self, spec: EchoModel, model: Model, notes: Notes) -> tuple[AdapterPlan, ...]:
        return ()

    def environment(self, inputs: Inputs, notes: Notes) -> dict[str, str]:
        return {"ECHO": "1"}


def install() -> None:
    """Adds both to the unions and the registries."""
    from stacks.plan import EmbeddedPlan, MinikubePlan, Plan
    from stacks.planning import clusters, engines
    from stacks.settings import Settings
    from stacks.settings.cluster import DRIVER_SETTINGS

    def of_engine(value: object) -> str:
        return str(value.get("engine", "vllm") if isinstance(value, dict) else getattr(value, "engine", "vllm"))

    def put(model: type, field: str, annotation: object) -> None:
        model.model_fields[field].annotation = annotation
        model.model_fields[field].discriminator = None
        model.model_rebuild(force=True)

    wished = Annotated[EmbeddedCluster | MinikubeCluster | PaperCluster, Field(discriminator="driver")]
    planned = Annotated[EmbeddedPlan | MinikubePlan | PaperPlan, Field(discriminator="driver")]
    served = Annotated[Annotated[VllmModel, Tag("vllm")] | Annotated[EchoModel, Tag("echo")], Discriminator(of_engine)]
    DRIVER_SETTINGS["paper"] = PaperCluster
    put(Settings, "cluster", wished)
    put(Settings, "models", tuple[served, ...])
    put(ModelPlan, "engine", Annotated[VllmPlan | EchoPlan, Field(discriminator="name")])
    put(Plan, "cluster", planned)
    clusters.DRIVERS["paper"] = Paper()
    engines.ENGINES["echo"] = Echo()
