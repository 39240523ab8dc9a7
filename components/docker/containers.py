"""The engines of a stack as containers of plain Docker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components import types
from components.docker.compose_manifests import compose_file
from components.host_command import host_command
from components.serving.weights import Weights
from stacks.plan import DockerPlan, Plan


@dataclass(frozen=True)
class ContainersArgs:
    """`epoch` goes up when a container is found gone, changed or stopped, so that the otherwise unchanged Command runs
    again; key and token are secrets.
    """

    plan: Plan
    docker: DockerPlan
    epoch: int
    api_key: pulumi.Output[str] | None = None
    hugging_face_token: pulumi.Output[str] | None = None


class Containers(pulumi.ComponentResource):
    """Creates: the weights of each model in the cache (Commands), and the Command `python -m host docker ensure`, which
    makes image, network, volumes and containers as the compose file says.

    Does not: install Docker, or delete weights; the cache outlives the stack.
    """

    urls: pulumi.Output[Mapping[str, str]]
    """Base URL by model name."""

    def __init__(self, name: str, args: ContainersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan = args.plan
        super().__init__(types.CONTAINERS, name, {"project": args.docker.name}, opts)
        weights: list[pulumi.Resource] = []
        for model in plan.models:
            wanted = Weights(model.fetched, plan.cache_folder or "", args.hugging_face_token)
            weights += wanted.declare(self)
        environment: dict[str, pulumi.Input[str]] = {
            "LAB_STACK": plan.stack,
            "LAB_SPEC": json.dumps(compose_file(plan, args.docker), sort_keys=True, separators=(",", ":")),
            "LAB_EPOCH": str(args.epoch),
        }
        if args.api_key is not None:
            environment["LAB_API_KEY"] = args.api_key
        host_command(
            f"{name}-ensure", "docker", environment, opts=pulumi.ResourceOptions(parent=self, depends_on=weights)
        )
        self.urls = pulumi.Output.from_input({model.name: model.endpoint for model in plan.models})
        self.register_outputs({"urls": self.urls})
