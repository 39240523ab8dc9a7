"""The machine during one run: where K3s' files are, what they shall say, and whose they are."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from host.drivers import ownership, specification
from host.drivers.ownership import Mark, Owner
from host.system import files, state
from stacks.plan import K3sPlan

BINARY: Final = "/usr/local/bin/k3s"
UNIT: Final = "/etc/systemd/system/k3s.service"
CONFIG: Final = "/etc/rancher/k3s/config.yaml"
KUBECONFIG: Final = "/etc/rancher/k3s/k3s.yaml"
OWNERS: Final = "registries.yaml"
"""Beside the configuration: mirrors and logins of image registries, which K3s reads when it starts (docs.k3s.io,
private registry configuration). It is the machine's owner's, may be there before K3s, and stays after it.
"""
DATA: Final = "/var/lib/rancher/k3s"
CONTAINERD: Final = f"{DATA}/agent/etc/containerd"
MARK: Final = "/var/lib/local-ai-lab/k3s.json"
"""One K3s a machine, so that the mark is the machine's and root's."""

UNIT_TEXT: Final = """\
[Unit]
Description=Lightweight Kubernetes, by local-ai-lab
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=notify
EnvironmentFile=-/etc/default/%N
EnvironmentFile=-/etc/sysconfig/%N
EnvironmentFile=-/etc/systemd/system/k3s.service.env
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s server
"""
"""What k3s-io/k3s install.sh, create_systemd_service_file, writes for a server."""


def contents(folder: Path) -> list[Path]:
    """What a K3s keeps in one of its folders: all but the owner's registries, and what each ext4 disk has that is
    mounted there. Raises OSError.
    """
    return [path for path in folder.iterdir() if path.name not in (OWNERS, "lost+found")]


@dataclass
class Machine:
    """One run for one stack; `root` stands for /."""

    stack: str
    plan: K3sPlan
    root: Path
    changes: list[str] = field(default_factory=list)

    def at(self, path: str) -> Path:
        """Where an absolute path of the machine is."""
        return self.root / path.lstrip("/")

    @property
    def mark_file(self) -> Path:
        """Where the mark of ownership is."""
        return self.at(MARK)

    @property
    def ours(self) -> Owner:
        """The owner that a K3s made by this run has."""
        return ownership.this_stack(self.stack, self.plan.driver, self.plan.name)

    @property
    def kubeconfig(self) -> Path:
        """The stack's own kubeconfig, which Pulumi's provider reads."""
        return Path(self.plan.kubeconfig).expanduser()

    def identity(self) -> str:
        """By what the service was started: sixteen hex digits of version, configuration and unit, and of when the
        owner's registries were written. Their content may be a login, and everybody may read the mark.
        """
        registries = self.at(CONFIG).with_name(OWNERS)
        written = (registries.stat().st_mtime_ns,) if os.path.exists(registries) else ()  # noqa: PTH110
        text = repr((self.plan.kubernetes, self.plan.config, UNIT_TEXT, *written))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def mark(self, mark: Mark) -> None:
        """Writes the mark, for every user to read: `lab down` asks whether there is something to remove."""
        ownership.write(self.mark_file, mark, 0o644)

    def write(self, path: str, data: bytes, mode: int) -> None:
        """Writes a file in one step, after what a killed run left beside it; runs come here one at a time."""
        target = self.at(path)
        for left in target.parent.glob(f".{target.name}.[0-9]*"):
            left.unlink()
        files.write_atomic_bytes(target, data, mode)

    def give_to_caller(self) -> None:
        """What lies in the caller's home becomes the caller's: sudo's root has written it."""
        uid, gid = int(os.environ.get("LAB_OWNER_UID", "-1")), int(os.environ.get("LAB_OWNER_GID", "-1"))
        if uid < 0:
            return
        folder = state.folder(self.stack)
        for path in (folder, self.kubeconfig, *folder.glob("*.json")):
            if path.exists() and path.stat().st_uid != uid:
                os.chown(path, uid, gid)

    @classmethod
    def read(cls, environment: Mapping[str, str], root: Path) -> Machine:
        """From LAB_STACK and LAB_SPEC. Raises HostError."""
        return cls(*specification.read(environment, K3sPlan, what="K3s"), root)
