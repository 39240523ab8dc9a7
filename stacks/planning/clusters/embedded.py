"""The embedded cluster: upstream Kubernetes in a network namespace of its own, on the machine itself."""

from __future__ import annotations

from typing import ClassVar, Literal

from stacks import names
from stacks.plan import EmbeddedPlan, HostChange, NvidiaRuntime
from stacks.planning.clusters.driver import common
from stacks.planning.draft import Inputs, Notes
from stacks.settings import EmbeddedCluster

_OF_MODULES = ("lab.local/envoy-gateway:", "lab.local/coredns:")
_MODULES_TAKE = "once; about ten minutes on two processors"


class Embedded:
    """For trials, CI and machines that reach package registries only."""

    name: ClassVar[str] = "embedded"
    title: ClassVar[str] = "upstream Kubernetes from Go modules, on Debian-like Linux"
    deployable: ClassVar[bool] = True
    nvidia_runtime: ClassVar[NvidiaRuntime | None] = None
    provider_fact: ClassVar[str] = "embedded.kubernetesProvider"
    eviction_fact: ClassVar[str] = "eviction.embedded"

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> EmbeddedPlan:  # noqa: ARG002
        """The slice; the node has all of the machine's memory."""
        catalog = inputs.catalog
        kubernetes, containerd, etcd = (
            catalog.fact(f"embedded.{part}") for part in ("kubernetes", "containerd", "etcd")
        )
        notes.decide(
            "cluster.kubernetes",
            kubernetes.value,
            "default",
            kubernetes.source,
            f"with containerd {containerd.value} and etcd {etcd.value}",
        )
        enforcing = catalog.fact("embedded.networkPolicies") if self.enforces_network_policy(inputs) else None
        if enforcing:
            notes.decide(
                "cluster.networkPolicy",
                "enforced",
                "stated",
                "stack file",
                f"by kube-network-policies {enforcing.value}; `up` shows a refused connection before it says so",
            )
        return EmbeddedPlan(
            name=names.cluster_name(inputs.stack),
            **common(inputs, self),
            node=names.cluster_name(inputs.stack),
            kubernetes=str(kubernetes.value),
            containerd=str(containerd.value),
            etcd=str(etcd.value),
            slot=_settings(inputs).slot,
            images=tuple(catalog.images[name].reference for name in _images(inputs)),
            addons=_addons(inputs),
            network_policies=str(enforcing.value) if enforcing else None,
        )

    def host_changes(self, inputs: Inputs, plan: EmbeddedPlan) -> list[HostChange]:  # noqa: ARG002
        """Programs, the image, a network namespace, the plan."""
        enforcing = f", kube-network-policies {plan.network_policies}" if plan.network_policies else ""
        return [
            HostChange(
                kind="package",
                what="runc and the CNI plugins from Debian, unpacked into a private prefix; nothing is installed",
                root=True,
            ),
            HostChange(
                kind="build",
                what=f"Kubernetes {plan.kubernetes}, containerd {plan.containerd}, etcd {plan.etcd}{enforcing} into "
                "the cache",
                root=False,
                note="from their releases, or built from Go modules where these cannot be reached",
            ),
            *_image_changes(plan.images),
            HostChange(
                kind="network", what=f"a network namespace, one veth pair at {plan.address}, two routes", root=True
            ),
            HostChange(
                kind="cluster",
                what=f"one-node cluster {plan.name} in that namespace, with a cgroup root of its own",
                root=True,
            ),
        ]

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        """All of Linux' memory less the cluster's own parts."""
        return linux_memory - self.system_memory(inputs)

    def system_memory(self, inputs: Inputs) -> float:
        """The cluster's own parts."""
        enforcing = inputs.catalog.number("embedded.networkPoliciesGiB") if self.enforces_network_policy(inputs) else 0
        return inputs.catalog.number("embedded.systemGiB") + enforcing

    def enforces_network_policy(self, inputs: Inputs) -> bool:
        """Where the stack file asks for it."""
        return _settings(inputs).network_policies == "enforced"

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        """Programs are built, and the image is built and imported, on the machine's own disk."""
        return inputs.catalog.number("embedded.diskGiB"), "builds, caches and the image"

    def address(self, inputs: Inputs) -> str:
        """The node's own address: nothing is published on loopback."""
        return names.embedded_node_address(_settings(inputs).slot)

    def cache_path_on_node(self, inputs: Inputs) -> str:
        """The folder itself: the node is the machine."""
        return inputs.settings.model_cache.path


def _image_changes(images: tuple[str, ...]) -> list[HostChange]:
    modules = [name for name in images if name.startswith(_OF_MODULES)]
    packages = [name for name in images if name not in modules]
    found = [(packages, "from Debian and PyPI packages", None), (modules, "from Go modules", _MODULES_TAKE)]
    return [
        HostChange(
            kind="build", what=f"the image{'s' * (len(names_) > 1)} {', '.join(names_)} {source}", root=True, note=note
        )
        for names_, source, note in found
        if names_
    ]


def _images(inputs: Inputs) -> list[str]:
    own = {
        "envoy": ["envoy-embedded"],
        "envoy-gateway": ["envoy-embedded", "envoy-gateway-embedded", "coredns-embedded"],
    }
    return ["vllm-cpu-embedded", *own.get(inputs.settings.gateway.kind, [])]


def _addons(inputs: Inputs) -> tuple[Literal["dns", "gateway-definitions"], ...]:
    """Envoy finds its controller by name, and both read kinds that Kubernetes itself does not have."""
    return ("dns", "gateway-definitions") if inputs.settings.gateway.kind == "envoy-gateway" else ()


def _settings(inputs: Inputs) -> EmbeddedCluster:
    assert isinstance(inputs.settings.cluster, EmbeddedCluster)  # noqa: S101  (the registry sees to it)
    return inputs.settings.cluster
