"""A minikube profile on the Docker driver."""

from __future__ import annotations

from math import floor
from typing import ClassVar

from stacks import names
from stacks.plan import HostChange, MinikubePlan, NvidiaRuntime
from stacks.planning.clusters.driver import common, pulled_image
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.gpus import device_plugin
from stacks.settings import MinikubeCluster, NvidiaMachine

_CPUS_LEAST = 2


class Minikube:
    """For laptops, WSL2 and machines that have Docker."""

    name: ClassVar[str] = "minikube"
    title: ClassVar[str] = "a minikube profile on its Docker driver, with GPUs"
    deployable: ClassVar[bool] = True
    nvidia_runtime: ClassVar[NvidiaRuntime | None] = "docker"
    provider_fact: ClassVar[str] = "minikube.kubernetesProvider"
    eviction_fact: ClassVar[str] = "eviction.minikube"

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> MinikubePlan:
        """The slice, with the command line that makes or starts the profile."""
        profile = _settings(inputs).profile
        catalog, settings = inputs.catalog, inputs.settings
        release = f"minikube.{settings.machine.platform}"
        kubernetes, version = catalog.fact(f"{release}.kubernetes"), catalog.fact(f"{release}.version")
        memory = _node_total_gib(inputs, linux_memory)
        cpus = max(_CPUS_LEAST, settings.machine.cpus - int(catalog.number("minikube.hostCpus")))
        notes.decide(
            "cluster.minikube",
            version.value,
            "default",
            version.source,
            "the release whose node image and defaults are planned with",
        )
        notes.decide(
            "cluster.cpus",
            cpus,
            "derived",
            catalog.fact("minikube.hostCpus").source,
            f"{settings.machine.cpus} processors less those of the system",
        )
        notes.decide(
            "cluster.kubernetes",
            kubernetes.value,
            "default",
            kubernetes.source,
            "pinned, so that a newer minikube changes nothing",
        )
        notes.decide(
            "cluster.memory", gib(memory), "derived", catalog.fact("minikube.hostGiB").source,
            f"{gib(linux_memory)} of Linux less {gib(catalog.number('minikube.hostGiB'))} for the Docker daemon, in "
            f"whole GiB",
        )  # fmt: skip
        made = MinikubePlan(
            name=profile,
            **common(inputs, self),
            node=profile,
            kubernetes=str(kubernetes.value),
            version=str(version.value),
            start=(),
            disabled_addons=("nvidia-device-plugin",) if device_plugin.mode(settings) == "owned" else (),
            memory_mib=int(memory * 1024),
            cpus=cpus,
            base_image=str(catalog.fact(f"{release}.baseImage").value),
            gpus="all",
            cni="calico",  # minikube's default network stores NetworkPolicies and enforces none
            mount=settings.model_cache.path,
            mounted_at=names.MODELS_MOUNT,
            ports=tuple(names.ENDPOINT_PORTS),  # all that a stack may use, so that a new model needs no new cluster
            tool_kubeconfig=f"{names.state_folder(inputs.stack)}/minikube-kubeconfig",
        )
        return made.model_copy(update={"start": _start(made)})

    def host_changes(self, inputs: Inputs, plan: MinikubePlan) -> list[HostChange]:
        """What WSL2 needs, and the profile."""
        machine = inputs.settings.machine
        changes = []
        if isinstance(machine, NvidiaMachine) and machine.platform == "wsl2" and machine.wsl_memory_gib is not None:
            changes.append(
                HostChange(
                    kind="file",
                    what=f".wslconfig in the Windows profile must say [wsl2] memory={machine.wsl_memory_gib}GB",
                    root=False,
                    note="yours to do, once; then in Windows: wsl --shutdown",
                )
            )
        changes += [
            HostChange(
                kind="download",
                what=f"minikube {plan.version} into the cache, unless it is on PATH",
                root=False,
            ),
            HostChange(
                kind="cluster",
                what=f"minikube profile {plan.name}, unless it is there (minikube {plan.version})",
                command=f"KUBECONFIG={plan.tool_kubeconfig} {' '.join(plan.start)}".replace("=~/", "=$HOME/"),
                root=False,
                note="your own kubeconfig and its current context stay as they are",
            ),
        ]
        return changes

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        """What the profile gets less the cluster's own parts."""
        return _node_total_gib(inputs, linux_memory) - inputs.catalog.number("minikube.systemGiB")

    def system_memory(self, inputs: Inputs) -> float:
        """The cluster's own parts, and what is left to the machine and its Docker daemon."""
        return inputs.catalog.number("minikube.systemGiB") + inputs.catalog.number("minikube.hostGiB")

    def enforces_network_policy(self, inputs: Inputs) -> bool:  # noqa: ARG002
        """Calico does."""
        return True

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        """The engine's image."""
        return pulled_image(inputs)

    def address(self, inputs: Inputs) -> str:  # noqa: ARG002
        """Loopback, where the profile publishes its node ports."""
        return "127.0.0.1"

    def cache_path_on_node(self, inputs: Inputs) -> str:  # noqa: ARG002
        """Where the profile mounts the machine's folder."""
        return names.MODELS_MOUNT


def _settings(inputs: Inputs) -> MinikubeCluster:
    assert isinstance(inputs.settings.cluster, MinikubeCluster)  # noqa: S101  (the registry sees to it)
    return inputs.settings.cluster


def _node_total_gib(inputs: Inputs, linux_memory: float) -> float:
    return max(0.0, floor(linux_memory - inputs.catalog.number("minikube.hostGiB")))


def _start(plan: MinikubePlan) -> tuple[str, ...]:
    """The command line; --gpus, --mount and --ports only act when the profile is made, so they are never left to a
    later start.
    """
    ports = f"{plan.ports[0]}-{plan.ports[-1]}"
    return (
        "minikube", "start", f"--profile={plan.name}",
        "--driver=docker", "--container-runtime=docker",  # the containerd default of newer releases refuses --gpus
        f"--gpus={plan.gpus}",
        f"--kubernetes-version={plan.kubernetes}",
        f"--base-image={plan.base_image}",
        f"--cpus={plan.cpus}", f"--memory={plan.memory_mib}",
        f"--cni={plan.cni}",
        "--mount", f"--mount-string={plan.mount}:{plan.mounted_at}",
        f"--ports=127.0.0.1:{ports}:{ports}",
        "--wait=all", "--interactive=false",
    )  # fmt: skip
