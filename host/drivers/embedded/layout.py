"""Where everything of one embedded cluster is: folders, addresses, names. Pure; nothing is touched."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from host.system import state
from stacks import names
from stacks.plan import EmbeddedPlan

RUN = Path("/run") / names.PART_OF
SLOTS = 63


@dataclass(frozen=True)
class Layout:
    """The places of one cluster. `stack` names its host state, `plan` is its specification."""

    stack: str
    plan: EmbeddedPlan

    @property
    def cache(self) -> Path:
        """Shared by all clusters and kept by `destroy`."""
        return Path("~/.cache").expanduser() / names.PART_OF

    @property
    def images(self) -> Path:
        """containerd's root: links to the files of images, and what its containers write."""
        return self.cache / "containerd" / self.plan.name

    @property
    def state(self) -> Path:
        """What must survive a reboot: keys, etcd's data, the kubelet's folder, logs."""
        return state.folder(self.stack) / "cluster"

    @property
    def run(self) -> Path:
        """What must not survive a reboot: process records, sockets, pinned namespaces."""
        return RUN / self.plan.name

    @property
    def kubeconfig(self) -> Path:
        return Path(self.plan.kubeconfig).expanduser()

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def network_namespace(self) -> Path:
        return self.run / "ns" / "net"

    @property
    def mount_namespace(self) -> Path:
        return self.run / "ns" / "mnt"

    @property
    def containerd_socket(self) -> Path:
        """As the machine sees it; inside the cluster's mount namespace it is /run/containerd/containerd.sock."""
        return self.run / "containerd" / "containerd.sock"

    @property
    def link(self) -> str:
        """The machine's end of the veth pair (at most 15 characters)."""
        return f"lab-emb{self.plan.slot}"

    @property
    def link_alias(self) -> str:
        """The mark on the link by which we know it as ours."""
        return f"{names.PART_OF} {self.plan.name}"

    @property
    def host_address(self) -> str:
        """The machine's own address on the veth: the one below the node's."""
        head, _, last = self.plan.address.rpartition(".")
        return f"{head}.{int(last) - 1}"

    @property
    def pods(self) -> str:
        return f"10.232.{self.plan.slot}.0/24"

    @property
    def services(self) -> str:
        return f"10.233.{self.plan.slot}.0/24"

    @property
    def kubernetes_service(self) -> str:
        """The Service address of the API server: the range's first."""
        return f"10.233.{self.plan.slot}.1"

    @property
    def dns_service(self) -> str:
        """Where a DNS service has to be, once there is one."""
        return f"10.233.{self.plan.slot}.10"

    @property
    def server(self) -> str:
        return f"https://{self.plan.address}:6443"

    @property
    def cgroup(self) -> str:
        """The cluster's cgroup, relative to each controller's root."""
        return f"/{self.plan.name}"


def owner() -> tuple[int, int]:
    """The user who called, also when `sudo` is between."""
    return int(os.environ.get("LAB_OWNER_UID", os.getuid())), int(os.environ.get("LAB_OWNER_GID", os.getgid()))
