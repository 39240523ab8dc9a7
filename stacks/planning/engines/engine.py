"""What the planner asks of every serving engine. Placement, budgets and objectives know engines by this alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from stacks.catalog import Image, Model
from stacks.measured import Row, Start
from stacks.plan import AdapterPlan, LifecyclePlan, MachinePlan, MemoryPlan, ModelPlan, ResourcesPlan
from stacks.plan.model import EnginePlan
from stacks.planning.draft import Inputs, Notes
from stacks.planning.gpus.cards import Need, Share
from stacks.planning.gpus.roofline import Reads
from stacks.settings import ModelSettings, NvidiaMachine


class Draft(Protocol):
    """One model's engine on a card, but for the size of its KV cache. Sizes are GiB (2^30) of one card."""

    @property
    def spec(self) -> ModelSettings:
        """What the stack file asks for."""

    @property
    def total(self) -> float:
        """All of the card, as the engine sees it."""

    @property
    def desktop(self) -> float:
        """What the desktop and the driver hold of it."""

    @property
    def fixed(self) -> float:
        """What the engine holds beside its KV cache, the error band included."""

    @property
    def kv_least(self) -> float:
        """KV cache for one request of the longest length."""

    def fallbacks(self) -> Sequence[Draft]:
        """The same engine with less and less memory, the fastest first: never empty."""

    def starts(self, free: float) -> bool:
        """Whether it starts on a card of which `free` GiB are free."""

    def need(self, replica: int) -> Need:
        """What one replica asks of a card."""

    def reads(self) -> Reads:
        """What one decoding step reads of the card's memory."""

    def sharing_problem(self) -> str | None:
        """Why the engine cannot share a card, or None."""

    def refuse(self, notes: Notes) -> None:
        """Records why it does not start on a card of its own, with the arithmetic."""

    def unplaced(self) -> Settled:
        """What is known of it without a card, as far as the other budgets need it."""

    def settle(self, size: float, *, before: float, neighbours: float, inputs: Inputs, notes: Notes) -> Settled:
        """The engine inside `size` GiB of a card, where engines that started before it hold `before` and all others
        `neighbours`. Serves the stack's objective; refusals go to `notes`.
        """


@dataclass(frozen=True)
class Settled:
    """An engine with its KV cache: the draft that it became, what it is told, and its memory."""

    draft: Draft
    engine: EnginePlan
    memory: MemoryPlan


@dataclass(frozen=True)
class Placed:
    """A settled engine on its cards: (card, share), one a replica; empty where it found no place."""

    settled: Settled
    shares: tuple[tuple[int, Share], ...]


@dataclass(frozen=True)
class OnCpu:
    """An engine on the processors; `activation_gib` is RAM at the peak of a step."""

    engine: EnginePlan
    memory: MemoryPlan
    activation_gib: float


class Engine(Protocol):
    """One serving engine: `name` is what stack files and plans call it."""

    name: ClassVar[str]
    title: ClassVar[str]

    def image(self, spec: Any, inputs: Inputs) -> Image:
        """The image that serves on the stack's machine."""

    def check(self, spec: Any, model: Model, image: Image, notes: Notes) -> None:
        """Refuses what needs no memory arithmetic: the context, the model's kind, the device."""

    def on_card(
        self, spec: Any, model: Model, machine: NvidiaMachine, image: Image, inputs: Inputs, notes: Notes
    ) -> Draft:
        """The engine as asked for, on the machine's card; refuses what is not legal there."""

    def on_cpu(self, spec: Any, model: Model, inputs: Inputs, notes: Notes) -> OnCpu:
        """The engine as asked for, on the processors; refuses what does not run there."""

    def decide(self, placed: Placed, notes: Notes) -> None:
        """Records why an engine on a card is told what it is told."""

    def resources(
        self, spec: Any, engine: Any, model: Model, activation_gib: float, inputs: Inputs, notes: Notes
    ) -> ResourcesPlan:
        """Requests and limits of its container; `engine` is what it is told."""

    def lifecycle(
        self, engine: Any, model: Model, image: Image, inputs: Inputs, *, download_gib: float, before: int
    ) -> LifecyclePlan:
        """How long it may take to start and to stop; `before` engines of the same card start first."""

    def learned(self, plan: ModelPlan, machine: MachinePlan, model: str, log: str) -> Start | None:
        """What a start of the plan's model printed, as the next plan reads it; None where the log tells nothing.

        `model` is the catalogue's name.
        """

    def compared(self, plan: ModelPlan, start: Start) -> list[Row]:
        """The plan's figures beside the printed ones, where both are known."""

    def second_model(self, spec: Any) -> str | None:
        """Another model of the catalogue whose weights it needs too, such as one that proposes tokens."""

    def adapters(self, spec: Any, model: Model, notes: Notes) -> tuple[AdapterPlan, ...]:
        """What is fetched of LoRA adapters, and served beside the model."""

    def environment(self, inputs: Inputs, notes: Notes) -> dict[str, str]:
        """The environment of every such engine of the stack."""
