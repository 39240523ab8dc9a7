"""vLLM: settings to engine settings, environment, image, memory and pod resources; nothing about clusters or other
engines.
"""

from __future__ import annotations

from typing import ClassVar

from stacks.catalog import Image, Model
from stacks.measured import Row, Start
from stacks.plan import AdapterPlan, LifecyclePlan, MachinePlan, ModelPlan, ResourcesPlan, VllmPlan
from stacks.planning.draft import Inputs, Notes
from stacks.planning.engines.engine import OnCpu, Placed
from stacks.planning.engines.vllm import decisions, lora, on_cpu, tasks
from stacks.planning.engines.vllm.environment import engine_environment
from stacks.planning.engines.vllm.gpu_draft import GpuDraft
from stacks.planning.engines.vllm.images import cuda_image, of_ones_own
from stacks.planning.engines.vllm.lifecycle import lifecycle
from stacks.planning.engines.vllm.measured_start import beside, kept
from stacks.planning.engines.vllm.networks import network
from stacks.planning.engines.vllm.on_gpu import draft_gpu
from stacks.planning.engines.vllm.pod_resources import pod_resources
from stacks.planning.engines.vllm.start_log import read_start
from stacks.settings import NvidiaMachine, VllmModel


class Vllm:
    """https://docs.vllm.ai: CUDA on NVIDIA cards, and a CPU build for trials."""

    name: ClassVar[str] = "vllm"
    title: ClassVar[str] = "vLLM, on NVIDIA cards and, for trials, on processors"

    def image(self, spec: VllmModel, inputs: Inputs) -> Image:
        """vLLM's own image on a card, by the card's driver, or one of the stack file's that was made from it; the one
        that is built from packages on processors.
        """
        machine = inputs.settings.machine
        if isinstance(machine, NvidiaMachine):
            found = cuda_image(machine.nvidia_driver, inputs.catalog.gpu(machine.gpu).capability, inputs.catalog)
            return found if spec.image is None else of_ones_own(found, spec.image)
        return inputs.catalog.images["vllm-cpu-embedded"]

    def check(self, spec: VllmModel, model: Model, image: Image, notes: Notes) -> None:
        """Refuses a context that the model was not trained for, and a model that the device does not serve."""
        longest = network(model).max_positions
        if spec.context_tokens > longest:
            notes.refuse(
                f"{spec.name}: contextTokens is {spec.context_tokens}, and {spec.model} was trained for {longest} "
                f"(max_position_embeddings); vLLM would refuse: User-specified max_model_len ({spec.context_tokens}) "
                f"is greater than the derived max_model_len ({longest})."
            )
        notes.decide("maxModelLen", spec.context_tokens, "stated", "stack file", "contextTokens")
        notes.decide("maxNumSeqs", spec.concurrent_requests, "stated", "stack file", "concurrentRequests")
        if image.device not in model.devices and image.device == "cuda":
            notes.refuse(
                f"{spec.name}: {spec.model} is a base model without a chat template; only the copy made for the CPU "
                "engine gets one, so that on a GPU every chat request would fail"
            )
        elif image.device not in model.devices:
            notes.refuse(f"{spec.name}: {spec.model} is served on GPUs only")
        tasks.check(spec, model, network(model), image, notes)

    def on_card(
        self, spec: VllmModel, model: Model, machine: NvidiaMachine, image: Image, inputs: Inputs, notes: Notes
    ) -> GpuDraft:
        """See on_gpu.py."""
        return draft_gpu(spec, model, network(model), machine, image, inputs, notes)

    def on_cpu(self, spec: VllmModel, model: Model, inputs: Inputs, notes: Notes) -> OnCpu:
        """See on_cpu.py."""
        return on_cpu.on_cpu(spec, model, network(model), inputs, notes)

    def decide(self, placed: Placed, notes: Notes) -> None:
        """See decisions.py."""
        decisions.decide(placed, notes)

    def resources(
        self, spec: VllmModel, engine: VllmPlan, model: Model, activation_gib: float, inputs: Inputs, notes: Notes
    ) -> ResourcesPlan:
        """See pod_resources.py."""
        multimodal = network(model).vision is not None and spec.images_per_request != 0
        cards = engine.tensor_parallel_size
        return pod_resources(
            spec,
            model,
            activation_gib,
            inputs,
            notes,
            multimodal=multimodal,
            cards=cards,
            adapters_gib=lora.ram_gib(spec, network(model)),
        )

    def learned(self, plan: ModelPlan, machine: MachinePlan, model: str, log: str) -> Start | None:
        """See start_log.py."""
        figures = read_start(log)
        return kept(plan, machine, model, figures) if figures.told_anything else None

    def compared(self, plan: ModelPlan, start: Start) -> list[Row]:
        """See measured_start.py."""
        return beside(plan, start)

    def second_model(self, spec: VllmModel) -> str | None:
        """The one that proposes tokens."""
        return spec.speculative.model if spec.speculative else None

    def adapters(self, spec: VllmModel, model: Model, notes: Notes) -> tuple[AdapterPlan, ...]:
        """See lora.py."""
        return lora.adapters(spec, network(model), notes)

    def lifecycle(
        self, engine: VllmPlan, model: Model, image: Image, inputs: Inputs, *, download_gib: float, before: int
    ) -> LifecyclePlan:
        """See lifecycle.py."""
        compiles = not (image.device == "cuda" and engine.enforce_eager)
        return lifecycle(
            weights_gib=model.weights_gib.value,
            download_gib=download_gib,
            image=image,
            catalog=inputs.catalog,
            compiles=compiles,
            before=before,
        )

    def environment(self, inputs: Inputs, notes: Notes) -> dict[str, str]:
        """See environment.py."""
        return engine_environment(inputs, notes)
