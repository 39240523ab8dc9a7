"""The cluster that carries a stack: literal names, addresses, sizes and the exact command that makes it."""

from __future__ import annotations

from math import floor

from stacks import names
from stacks.planning.draft import Inputs, Notes, gib
from stacks.planning.plan import EmbeddedPlan, MinikubePlan
from stacks.settings import EmbeddedCluster, MinikubeCluster

_MINIKUBE_CPUS_LEAST = 2


def plan_cluster(inputs: Inputs, linux_memory: float, notes: Notes) -> MinikubePlan | EmbeddedPlan:
    """The cluster of the stack; `linux_memory` is GiB of RAM that Linux has."""
    cluster = inputs.settings.cluster
    if isinstance(cluster, MinikubeCluster):
        return _minikube(cluster, inputs, linux_memory, notes)
    return _embedded(cluster, inputs, notes)


def cluster_address(inputs: Inputs) -> str:
    """Where the machine reaches node ports: loopback for minikube, which publishes them there, else the node's own
    address.
    """
    cluster = inputs.settings.cluster
    return names.embedded_node_address(cluster.slot) if isinstance(cluster, EmbeddedCluster) else "127.0.0.1"


def node_memory_gib(inputs: Inputs, linux_memory: float) -> float:
    """RAM in GiB that pods of the node may share, the cluster's own parts already taken off."""
    return _node_total_gib(inputs, linux_memory) - inputs.catalog.number(f"{inputs.settings.cluster.driver}.systemGiB")


def _node_total_gib(inputs: Inputs, linux_memory: float) -> float:
    if inputs.settings.cluster.driver == "minikube":
        return max(0.0, floor(linux_memory - inputs.catalog.number("minikube.hostGiB")))
    return linux_memory


def _minikube(cluster: MinikubeCluster, inputs: Inputs, linux_memory: float, notes: Notes) -> MinikubePlan:
    catalog, settings = inputs.catalog, inputs.settings
    release = f"minikube.{settings.machine.platform}"
    kubernetes, version = catalog.fact(f"{release}.kubernetes"), catalog.fact(f"{release}.version")
    memory = _node_total_gib(inputs, linux_memory)
    cpus = max(_MINIKUBE_CPUS_LEAST, settings.machine.cpus - int(catalog.number("minikube.hostCpus")))
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
        f"{gib(linux_memory)} of Linux less {gib(catalog.number('minikube.hostGiB'))} for the Docker daemon, in whole GiB",
    )  # fmt: skip
    return MinikubePlan(
        name=cluster.profile,
        kubeconfig=names.kubeconfig(inputs.stack),
        identifier=names.cluster_identifier(inputs.stack),
        node=cluster.profile,
        kubernetes=str(kubernetes.value),
        address=cluster_address(inputs),
        version=str(version.value),
        start=_minikube_start(cluster.profile, inputs, release, memory_mib=int(memory * 1024), cpus=cpus),
        disabled_addons=("nvidia-device-plugin",),
        memory_mib=int(memory * 1024),
        cpus=cpus,
        provider=str(catalog.fact("minikube.kubernetesProvider").value),
    )


def _minikube_start(profile: str, inputs: Inputs, release: str, *, memory_mib: int, cpus: int) -> tuple[str, ...]:
    """The command line; --gpus, --mount and --ports only act when the profile is made, so they are never left to a
    later start.
    """
    catalog = inputs.catalog
    ports = f"{names.ENDPOINT_PORTS[0]}-{names.ENDPOINT_PORTS[-1]}"
    return (
        "minikube", "start", f"--profile={profile}",
        "--driver=docker", "--container-runtime=docker",  # the containerd default of newer releases refuses --gpus
        "--gpus=all",
        f"--kubernetes-version={catalog.fact(f'{release}.kubernetes').value}",
        f"--base-image={catalog.fact(f'{release}.baseImage').value}",
        f"--cpus={cpus}", f"--memory={memory_mib}",
        "--cni=calico",  # minikube's default network stores NetworkPolicies and enforces none
        "--mount", f"--mount-string={inputs.settings.model_cache.path}:{names.MODELS_MOUNT}",
        f"--ports=127.0.0.1:{ports}:{ports}",  # all that a stack may use, so that a new model needs no new cluster
        "--wait=all", "--interactive=false",
    )  # fmt: skip


def _embedded(cluster: EmbeddedCluster, inputs: Inputs, notes: Notes) -> EmbeddedPlan:
    catalog = inputs.catalog
    kubernetes, containerd, etcd = (catalog.fact(f"embedded.{part}") for part in ("kubernetes", "containerd", "etcd"))
    notes.decide(
        "cluster.kubernetes",
        kubernetes.value,
        "default",
        kubernetes.source,
        f"with containerd {containerd.value} and etcd {etcd.value}",
    )
    notes.decide(
        "cluster.networkPolicy",
        "stored, not enforced",
        "degraded",
        "the bridge CNI plugin",
        "no enforcing CNI is to be had from package registries",
    )
    return EmbeddedPlan(
        name=names.cluster_name(inputs.stack),
        kubeconfig=names.kubeconfig(inputs.stack),
        identifier=names.cluster_identifier(inputs.stack),
        node=names.cluster_name(inputs.stack),
        kubernetes=str(kubernetes.value),
        containerd=str(containerd.value),
        etcd=str(etcd.value),
        address=cluster_address(inputs),
        slot=cluster.slot,
        images=(catalog.images["vllm-cpu-embedded"].reference,),
        provider=str(catalog.fact("embedded.kubernetesProvider").value),
    )
