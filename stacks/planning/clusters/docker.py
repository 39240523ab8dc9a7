"""Containers of plain Docker on the machine itself: no Kubernetes."""

from __future__ import annotations

from typing import ClassVar

from stacks import names
from stacks.plan import DockerPlan, HostChange, NvidiaRuntime
from stacks.planning.clusters.driver import pulled_image
from stacks.planning.draft import Inputs, Notes, gib
from stacks.settings import NvidiaMachine

_ADDRESS = "127.0.0.1"


class Docker:
    """For machines that have Docker and want no cluster."""

    name: ClassVar[str] = "docker"
    title: ClassVar[str] = "containers of plain Docker, without Kubernetes"
    deployable: ClassVar[bool] = True
    nvidia_runtime: ClassVar[NvidiaRuntime | None] = "docker"
    provider_fact: ClassVar[str] = ""
    eviction_fact: ClassVar[str] = "eviction.docker"

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> DockerPlan:
        """The slice. Refuses several replicas: Docker publishes a port for one container."""
        for model in inputs.settings.models:
            if model.replicas > 1:
                notes.refuse(
                    f"{model.name}: {model.replicas} replicas need something that spreads requests over them, and "
                    "plain Docker publishes a port for one container."
                )
        pids, host = inputs.catalog.fact("docker.pids"), inputs.catalog.fact("docker.hostGiB")
        notes.decide("docker.pids", pids.value, "default", pids.source, "processes and threads of one engine, at most")
        notes.decide(
            "docker.hostMemory", gib(host.value), "default", host.source,
            f"of {gib(linux_memory)} of Linux, for the Docker daemon and the system; engines share the rest",
        )  # fmt: skip
        notes.decide(
            "docker.network", "own bridge", "default", "the lab",
            "engines do not reach each other, and get no answers from outside; ports are on loopback only",
        )  # fmt: skip
        notes.decide(
            "docker.restart", "unless-stopped", "degraded", "Docker",
            "Docker starts again what has ended, after a reboot too, but nothing that hangs: its health check shows it",
        )  # fmt: skip
        return DockerPlan(name=names.cluster_name(inputs.stack), address=_ADDRESS, pids_limit=int(pids.value))

    def host_changes(self, inputs: Inputs, plan: DockerPlan) -> list[HostChange]:
        """The image, and what is made in Docker."""
        image = inputs.catalog.images["vllm-cuda" if self._has_gpu(inputs) else "vllm-cpu-embedded"]
        count = len(inputs.settings.models)
        changes = []
        if image.pull_policy == "Never":
            changes.append(
                HostChange(kind="build", what=f"the image {image.reference} from Debian and PyPI packages", root=True)
            )
            changes.append(
                HostChange(
                    kind="download",
                    what=f"that image is loaded into Docker ({gib(image.unpacked_gib.value)})",
                    root=True,
                )
            )
        else:
            changes.append(
                HostChange(
                    kind="download",
                    what=f"Docker pulls {image.reference}, unless it has it",
                    command=f"docker pull {image.reference}",
                    root=False,
                    note=f"{gib(image.compressed_gib.value)} to download, {gib(image.unpacked_gib.value)} on the disk; "
                    "it is kept when the stack is destroyed",
                )
            )
        changes.append(
            HostChange(
                kind="network",
                what=f"Docker's bridge network {plan.name}, with ports on {plan.address} only",
                root=False,
            )
        )
        changes.append(
            HostChange(
                kind="cluster",
                what=f"{count} container{'s' * (count != 1)} and scratch volume{'s' * (count != 1)} {plan.name}-*, "
                "started again with Docker",
                root=False,
                note="Docker itself must be there: it is not installed for you",
            )
        )
        return changes

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        """All of Linux' memory less what the system keeps."""
        return max(0.0, linux_memory - self.system_memory(inputs))

    def system_memory(self, inputs: Inputs) -> float:
        """The Docker daemon and the system."""
        return inputs.catalog.number("docker.hostGiB")

    def enforces_network_policy(self, inputs: Inputs) -> bool:  # noqa: ARG002
        """There are none."""
        return False

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        """The engine's image, which is pulled, or is built, handed over and unpacked by Docker."""
        if self._has_gpu(inputs):
            return pulled_image(inputs)
        return inputs.catalog.number("docker.builtDiskGiB"), "builds, caches and the image, twice while it is loaded"

    def address(self, inputs: Inputs) -> str:  # noqa: ARG002
        """Loopback, where ports are published."""
        return _ADDRESS

    def cache_path_on_node(self, inputs: Inputs) -> str:
        """The folder itself, mounted read-only."""
        return inputs.settings.model_cache.path

    @staticmethod
    def _has_gpu(inputs: Inputs) -> bool:
        return isinstance(inputs.settings.machine, NvidiaMachine)
