"""The Plan: what follows from a stack file and the catalogue, as literal values. JSON both ways; the same document
everywhere.

Sizes are MiB or GiB (2^20, 2^30) and durations are seconds, as the field names say.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal

from pydantic import Field

from stacks import names
from stacks.plan.base import Decision, HostChange, Part
from stacks.plan.cluster import ClusterPlan, DockerPlan, KubernetesPlan
from stacks.plan.gateway import GatewayPlan
from stacks.plan.gpu import CardPlan, NvidiaPlan
from stacks.plan.machine import BudgetPlan, MachinePlan
from stacks.plan.model import ModelPlan
from stacks.plan.storage import ClaimCachePlan, ModelCachePlan

PLAN_FORMAT: Final = 1
_NOT_IN_DIGEST = frozenset({"decisions", "hostChanges", "memory", "estimate", "budgets", "cards"})


class Plan(Part):
    """One stack, decided."""

    format: Literal[1] = PLAN_FORMAT
    stack: str
    machine: MachinePlan
    cluster: ClusterPlan
    nvidia: NvidiaPlan | None
    model_cache: ModelCachePlan | ClaimCachePlan
    models: tuple[ModelPlan, ...]
    cards: tuple[CardPlan, ...] = ()
    shared_cards: bool = Field(default=False, description="whether engines share a card")
    budgets: tuple[BudgetPlan, ...] = ()
    gateway: GatewayPlan | None = Field(default=None, description="None: each model has a port of its own")
    auth: Literal["apiKey", "clientKeys", "none"] = Field(
        description="apiKey: one for the engines; clientKeys: the gateway's, one for each client"
    )
    consent: Literal["ask", "allow"] = Field(description="whether `up` asks before it changes the machine")
    hugging_face_token: bool
    host_changes: tuple[HostChange, ...]
    decisions: tuple[Decision, ...]

    @property
    def target(self) -> Literal["kubernetes", "docker"]:
        """What runs the engines."""
        return "docker" if isinstance(self.cluster, DockerPlan) else "kubernetes"

    @property
    def kubernetes(self) -> KubernetesPlan:
        """The cluster's slice. Raises TypeError where the target is not Kubernetes: ask `target` first."""
        if not isinstance(self.cluster, KubernetesPlan):
            raise TypeError(f"stack {self.stack} runs in {self.target}, without Kubernetes")
        return self.cluster

    @property
    def cache_folder(self) -> str | None:
        """The machine's folder with the weights; None where they are in the cluster, and its pods fetch them."""
        return self.model_cache.host_path if isinstance(self.model_cache, ModelCachePlan) else None

    @property
    def asked_gpus(self) -> int:
        """How many nvidia.com/gpu the pods of all models ask for."""
        return sum(model.resources.gpus * model.replicas for model in self.models)

    @property
    def start_order(self) -> tuple[ModelPlan, ...]:
        """The models as they start: one after another where they share cards, else in any order."""
        first: dict[str, int] = {}
        for share in (share for card in self.cards for share in card.shares):
            first[share.model] = min(share.start_order, first.get(share.model, share.start_order))
        return tuple(sorted(self.models, key=lambda model: first.get(model.name, 0))) if first else self.models

    @property
    def where(self) -> dict[str, str]:
        """What probes are told, in their environment, of the place that the engines run in."""
        gateway = {"LAB_GATEWAY": f"{names.state_folder(self.stack)}/gateway"} if self.gateway else {}
        if self.target == "docker":
            return {"LAB_PROJECT": self.cluster.name, **gateway}
        forwarded = {"LAB_FORWARD": "1"} if self.cluster.foreign else {}
        return {
            "LAB_KUBECONFIG": self.kubernetes.kubeconfig,
            "LAB_NAMESPACE": self.kubernetes.namespace,
            **forwarded,
            **gateway,
        }

    @property
    def digest(self) -> str:
        """Twelve hex digits of what will run; reasons, host changes and shown arithmetic do not count."""
        unsaid = {"gateway"} if self.gateway is None else set()  # so that plans without one are what they were
        document = self.model_dump(mode="json", by_alias=True, exclude=unsaid)
        text = json.dumps(_without(document, _NOT_IN_DIGEST), sort_keys=True)
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


def _without(value: Any, keys: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(v, keys) for v in value] if isinstance(value, list) else value
