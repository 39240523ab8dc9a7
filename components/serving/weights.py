"""The weights of one model in the cache, wherever its engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.host_command import host_command
from stacks.plan import WeightsPlan, canonical


@dataclass(frozen=True)
class Weights:
    """`plans` by the names of their resources; `cache_path` is the model cache's folder on the machine; the Hub's token
    is a secret.
    """

    plans: Mapping[str, WeightsPlan]
    cache_path: str
    hugging_face_token: pulumi.Output[str] | None = None

    def declare(self, parent: pulumi.Resource) -> list[pulumi.Resource]:
        """One Command for each: the model's own, those of a second model that proposes tokens, and of adapters."""
        return [self._command(name, plan, parent) for name, plan in self.plans.items()]

    def _command(self, name: str, plan: WeightsPlan, parent: pulumi.Resource) -> pulumi.Resource:
        environment: dict[str, pulumi.Input[str]] = {"LAB_SPEC": canonical(plan), "LAB_CACHE": self.cache_path}
        if self.hugging_face_token is not None:
            environment["HF_TOKEN"] = self.hugging_face_token
        return host_command(name, "models", environment, destroy=False, opts=pulumi.ResourceOptions(parent=parent))
