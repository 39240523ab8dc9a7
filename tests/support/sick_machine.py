"""A machine for `lab doctor`: sound unless a test says otherwise. Strict: a program takes the words below, no others.

Outputs as documented or recorded: docker 28 (`docker info --format '{{json .}}'`, its ServerErrors where no daemon
answers), nvidia-smi 595 (--help-query-gpu), nvidia-ctk 1.19, iproute2 6.1 (ss -ltnpH), coreutils 9 (df -P, stat -f),
kubectl 1.35 (version -o json), sudo 1.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from probes.machine import APPS
from probes.machine import QUERY as CARD_QUERY
from probes.nvidia.layer import NOT_FOUND, Ran
from probes.nvidia.parse import QUERY

UUID = "GPU-5a1f3c52-0001-4a6b-9c3d-000000000001"
_CSV = "--format=csv,noheader,nounits"
_INFO = {
    "ServerVersion": "28.5.1", "OperatingSystem": "Ubuntu 24.04.3 LTS", "DefaultRuntime": "runc",
    "Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}, "runc": {"path": "runc"}}, "CgroupDriver": "systemd",
    "CgroupVersion": "2", "DockerRootDir": "/var/lib/docker", "SecurityOptions": ["name=apparmor"],
}  # fmt: skip
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.51/info": dial unix /var/run/docker.sock: connect: permission denied'
)
_CPU = "processor\t: {n}\nmodel name\t: AMD Ryzen 7 5800X\nflags\t\t: fpu sse4_2 avx avx2{more}\n\n"


def df(total: int, free: int, mount: str = "/") -> str:
    """What df -P prints, in GiB of 1024-blocks, or in inodes."""
    head = "Filesystem 1024-blocks Used Available Capacity Mounted on"
    return f"{head}\n/dev/nvme0n1p2 {total * 2**20} {(total - free) * 2**20} {free * 2**20} 9% {mount}\n"


def docker_errors(text: str) -> Ran:
    """docker info without a daemon, as docker 28.2.2 printed it: JSON without a reason, and the reason behind it."""
    return Ran(1, json.dumps({"ID": "", "ServerVersion": "", "CDISpecDirs": None}) + f"\n{text}\n")


class SickMachine:
    """`programs` are answers to exact command lines, `files` texts by path, both in the place of the sound ones; a
    program of `without` is not installed.
    """

    def __init__(
        self,
        programs: Mapping[str, Ran] | None = None,
        files: Mapping[str, str | None] | None = None,
        without: Sequence[str] = (),
        used_mib: int = 12,
    ) -> None:
        card = f"0, NVIDIA GeForce RTX 4060, {UUID}, 595.84, 8188, {8188 - used_mib}, 8.9"
        client = {"clientVersion": {"gitVersion": "v1.35.1"}, "kustomizeVersion": "v5.7.1"}
        self.without = without
        self.programs: dict[str, Ran] = {
            "uname -srm": Ran(0, "Linux 6.8.0-87-generic x86_64\n"),
            "uname -m": Ran(0, "x86_64\n"),
            "stat -fc %T /sys/fs/cgroup": Ran(0, "cgroup2fs\n"),
            "id -u": Ran(0, "1000\n"),
            "sudo -n true": Ran(1, "sudo: a password is required\n"),
            "sudo -V": Ran(0, "Sudo version 1.9.15p5\n"),
            "printenv HOME": Ran(0, "/home/somebody\n"),
            "docker info --format {{json .}}": Ran(0, json.dumps(_INFO)),
            "docker inspect local-ai-lab --format {{json .HostConfig.DeviceRequests}}": Ran(
                1, "error: no such object: local-ai-lab"
            ),
            f"nvidia-smi --query-gpu={','.join(QUERY)} {_CSV}": Ran(0, f"{card}\n"),
            f"nvidia-smi --query-gpu={','.join(CARD_QUERY)} {_CSV}": Ran(
                0, f"NVIDIA GeForce RTX 4060, 595.84, 8188, {used_mib}, 8.9, Disabled, [N/A]\n"
            ),
            f"nvidia-smi --query-compute-apps={','.join(APPS)} {_CSV}": Ran(0, ""),
            "nvidia-smi -L": Ran(0, f"GPU 0: NVIDIA GeForce RTX 4060 (UUID: {UUID})\n"),
            "nvidia-smi": Ran(0, "| NVIDIA-SMI 595.84 |\n"),
            "nvidia-smi -q": Ran(0, "==============NVSMI LOG==============\n"),
            "nvidia-ctk --version": Ran(0, "NVIDIA Container Toolkit CLI version 1.19.1\ncommit: 0123\n"),
            "nvidia-ctk cdi list": Ran(0, f"nvidia.com/gpu=0\nnvidia.com/gpu={UUID}\nnvidia.com/gpu=all\n"),
            "ss -ltnpH": Ran(0, "LISTEN 0 4096 127.0.0.53%lo:53 0.0.0.0:*\n"),
            "kubectl config view -o json": Ran(0, '{"contexts": null}'),
            "kubectl version -o json --client": Ran(0, json.dumps(client)),
            "minikube version --short": Ran(0, "v1.38.1\n"),
            "minikube profile list -o json": Ran(0, '{"invalid": [], "valid": []}'),
            "df -P -k": Ran(0, df(500, 300)),
            **(programs or {}),
        }
        self.files: dict[str, str | None] = {
            "/proc/version": "Linux version 6.8.0-87-generic (buildd@lcy02)",
            "/etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nID_LIKE=debian\n',
            "/proc/cpuinfo": "".join(_CPU.format(n=n, more=" avx512f") for n in range(16)),
            "/proc/meminfo": "MemTotal: 32768000 kB\nMemAvailable: 28000000 kB\n",
            "/var/lib/docker": "", "/var/lib": "", "/home/somebody": "", "/run/systemd/system": "",
            **(files or {}),
        }  # fmt: skip

    def run(self, words: Sequence[str], timeout: float = 20.0) -> Ran:
        line = " ".join(words)
        if words[0] in self.without:
            return Ran(NOT_FOUND, f"{words[0]}: not found")
        if words[:3] == ["df", "-P", "-k"] and line not in self.programs:
            return Ran(0, df(500, 300))
        if words[:3] == ["df", "-P", "-i"] and line not in self.programs:
            return Ran(0, df(30, 28))
        assert line in self.programs, f"not a documented use: {line}"
        return self.programs[line]

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def exists(self, path: str) -> bool:
        return self.files.get(path) is not None

    def names(self, folder: str) -> tuple[str, ...]:
        return ()
