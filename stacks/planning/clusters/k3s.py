"""K3s as a service of the machine."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import yaml

from stacks import names
from stacks.plan import HostChange, K3sPlan, NvidiaRuntime
from stacks.planning.clusters.driver import common, pulled_image
from stacks.planning.draft import Inputs, Notes, gib
from stacks.settings import K3sCluster

CONFIG: Final = "/etc/rancher/k3s/config.yaml"
"""Where K3s reads its settings: docs.k3s.io, configuration file."""
DATA: Final = "/var/lib/rancher/k3s"
"""K3s' own folder, which goes with it: no model cache may lie in it."""
MARK: Final = "/var/lib/local-ai-lab/k3s.json"
"""Whose the machine's one K3s is."""

_PARTS = ("traefik", "servicelb", "metrics-server")
_MEMORY_LEFT = "200Mi"  # below it the kubelet evicts pods before the machine starts to swap or to kill
_HEADER = "# Written by local-ai-lab: changes are found and put right by the next `lab up`.\n"


class K3s:
    """For workstations and servers with Linux and systemd, WSL2 with systemd among them."""

    name: ClassVar[str] = "k3s"
    title: ClassVar[str] = "K3s, as a systemd service of the machine"
    deployable: ClassVar[bool] = True
    nvidia_runtime: ClassVar[NvidiaRuntime | None] = "k3s"
    provider_fact: ClassVar[str] = "k3s.kubernetesProvider"
    eviction_fact: ClassVar[str] = "eviction.k3s"

    def plan(self, inputs: Inputs, linux_memory: float, notes: Notes) -> K3sPlan:
        """The slice, with the whole configuration file."""
        catalog = inputs.catalog
        version, host = catalog.fact("k3s.version"), catalog.fact("k3s.hostGiB")
        keep = _settings(inputs).keep
        notes.decide("cluster.k3s", version.value, "default", version.source, "pinned by version and checksum")
        notes.decide(
            "cluster.hostMemory", gib(host.value), "default", host.source,
            f"of {gib(linux_memory)} of Linux, for the system beside K3s",
        )  # fmt: skip
        notes.decide(
            "cluster.parts", ", ".join(keep) or "none", "stated" if keep else "default", "cluster.keep",
            f"of {', '.join(_PARTS)}: what is off takes no port and no memory",
        )  # fmt: skip
        node = names.cluster_name(inputs.stack)
        return K3sPlan(
            name=node,
            **common(inputs, self),
            node=node,
            kubernetes=str(version.value),
            config=_HEADER + yaml.safe_dump(_config(node, keep, self._evicts_below(inputs)), sort_keys=False),
        )

    def host_changes(self, inputs: Inputs, plan: K3sPlan) -> list[HostChange]:  # noqa: ARG002
        """The binary, its configuration, the service, and what K3s makes when it runs."""
        return [
            HostChange(
                kind="download",
                what=f"K3s {plan.kubernetes} into the cache, checked by its sha256, then as /usr/local/bin/k3s",
                root=True,
                note="a K3s that the lab did not install is refused and never touched",
            ),
            HostChange(
                kind="file",
                what=f"{CONFIG}, /etc/systemd/system/k3s.service, {MARK}",
                root=True,
                note="the last one says which stack the K3s belongs to: no other stack changes it",
            ),
            HostChange(
                kind="cluster",
                what=f"the service k3s: one-node cluster {plan.name}, ports 6443 and 10250, data in {DATA} and "
                "/var/lib/kubelet",
                root=True,
                command="systemctl enable --now k3s",
                note="endpoints' ports are open on loopback only; K3s makes /etc/rancher/k3s/k3s.yaml, /run/k3s and "
                "/run/flannel, the links cni0, flannel.1 and veth*, network namespaces cni-*, and rules of iptables",
            ),
        ]

    def node_memory(self, inputs: Inputs, linux_memory: float) -> float:
        """All of Linux' memory less the system's part and K3s' own."""
        return max(0.0, linux_memory - self.system_memory(inputs))

    def system_memory(self, inputs: Inputs) -> float:
        """K3s' own parts, and what is left to the machine."""
        return inputs.catalog.number("k3s.systemGiB") + inputs.catalog.number("k3s.hostGiB")

    def enforces_network_policy(self, inputs: Inputs) -> bool:  # noqa: ARG002
        """K3s brings a controller that does."""
        return True

    def node_disk(self, inputs: Inputs) -> tuple[float, str]:
        """The engine's image."""
        return pulled_image(inputs)

    def address(self, inputs: Inputs) -> str:  # noqa: ARG002
        """Loopback: kube-proxy opens node ports on no other address."""
        return "127.0.0.1"

    def cache_path_on_node(self, inputs: Inputs) -> str:
        """The folder itself: the node is the machine."""
        return inputs.settings.model_cache.path

    def _evicts_below(self, inputs: Inputs) -> float:
        return inputs.catalog.number(self.eviction_fact)


def _config(node: str, keep: tuple[str, ...], part: float) -> dict[str, Any]:
    """K3s' settings (docs.k3s.io/cli/server). `eviction-hard` replaces all of the kubelet's defaults, so that every
    signal is listed.
    """
    share = f"{part:.0%}"
    signals = ("imagefs.available", "imagefs.inodesFree", "nodefs.available", "nodefs.inodesFree")
    evicts = ",".join([*(f"{signal}<{share}" for signal in signals), f"memory.available<{_MEMORY_LEFT}"])
    config: dict[str, Any] = {
        "node-name": node,
        "write-kubeconfig-mode": "0600",
        "default-runtime": "nvidia",
        "secrets-encryption": True,
        "kubelet-arg": [f"eviction-hard={evicts}"],
        "kube-proxy-arg": ["nodeport-addresses=127.0.0.0/8"],
    }
    off = [part for part in _PARTS if part not in keep]
    return {**config, "disable": off} if off else config


def _settings(inputs: Inputs) -> K3sCluster:
    assert isinstance(inputs.settings.cluster, K3sCluster)  # noqa: S101  (the registry sees to it)
    return inputs.settings.cluster
