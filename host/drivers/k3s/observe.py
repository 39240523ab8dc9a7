"""What there is of K3s on the machine; looks only."""

from __future__ import annotations

import filecmp
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from host.drivers import ownership
from host.drivers.k3s.alive import ready
from host.drivers.k3s.machine import (
    BINARY,
    CONFIG,
    CONTAINERD,
    DATA,
    KUBECONFIG,
    UNIT,
    UNIT_TEXT,
    Machine,
    contents,
)
from host.drivers.ownership import Mark, Owner
from host.system import command
from probes.kubernetes_api import KubernetesApi
from probes.nvidia.parse import containerd
from stacks.errors import LabError

PLACES: Final = (
    BINARY, UNIT, "/etc/systemd/system/k3s.service.env", "/etc/systemd/system/k3s-agent.service", "/etc/rancher/k3s",
    DATA, "/var/lib/kubelet", "/var/lib/cni/networks/cbr0", "/run/k3s", "/run/flannel",
)  # fmt: skip
"""Where a K3s, or another Kubernetes, is seen by its files: what is there without our mark is somebody else's. All that
a removal takes away is among them.
"""
_DROP_INS = ("/etc/rancher/k3s/config.yaml.d", "/etc/systemd/system/k3s.service.d")
_TOOLKIT = ("/usr/bin/nvidia-container-runtime", "/usr/local/nvidia/toolkit/nvidia-container-runtime")
_BASE = '{{ template "base" . }}'
_LOOK = 20.0
_API_SECONDS = 5.0


@dataclass(frozen=True)
class Observed:
    """`binary`: whether the program is the planned release. `has`: the places that exist. `config`, `unit`: whether
    the file says what it shall. `service`: what `systemctl is-active` says. `nvidia`: whether containerd's
    configuration has NVIDIA's runtime, None where there is none yet. `template`: one that takes its place. `drop_ins`:
    files by which K3s or its unit is told something else than the plan says.
    """

    systemd: bool
    wsl: bool
    mark: Mark | None
    inside: Owner | None
    has: tuple[str, ...]
    binary: bool
    version: str
    config: bool
    unit: bool
    service: str
    enabled: bool
    toolkit: bool
    nvidia: bool | None
    template: str
    ready: bool
    drop_ins: tuple[str, ...] = ()


def look(machine: Machine, program: Path | None) -> Observed:
    """The machine as it is now; `program` is the planned release in the cache, None where it is not there. Raises
    HostError where the mark cannot be read.
    """
    installed = machine.at(BINARY)
    systemd = machine.at("/run/systemd/system").is_dir()
    version = version_of(installed) if _there(installed) else ""
    same = (
        filecmp.cmp(program, installed, shallow=False) and installed.stat().st_mode & 0o777 == 0o755
        if program and _there(installed)
        else version == machine.plan.kubernetes
    )
    service = _systemctl("is-active") if systemd else "inactive"
    inside, is_ready = _ask(machine) if service == "active" else (None, False)
    config = machine.at(CONFIG)
    return Observed(
        systemd=systemd,
        wsl="microsoft" in _text(machine.at("/proc/sys/kernel/osrelease")).lower(),
        mark=ownership.read(machine.mark_file),
        inside=inside,
        has=tuple(path for path in PLACES if _has(machine.at(path))),
        binary=same,
        version=version,
        config=_text(config) == machine.plan.config and config.stat().st_mode & 0o777 == 0o600,
        unit=_text(machine.at(UNIT)) == UNIT_TEXT,
        service=service,
        enabled=systemd and _systemctl("is-enabled") == "enabled",
        toolkit=any(_there(machine.at(path)) for path in _TOOLKIT),
        nvidia=_nvidia(machine),
        template=_template(machine),
        ready=is_ready,
        drop_ins=tuple(
            f"{folder}/{path.name}" for folder in _DROP_INS for path in sorted(machine.at(folder).glob("*"))
        ),
    )


def version_of(program: Path) -> str:
    """What a K3s says of itself, such as v1.36.2+k3s1; empty where it says nothing of the kind."""
    try:
        said = command.run([program, "--version"], timeout=_LOOK, check=False).stdout
    except (command.CommandFailed, OSError):
        return ""
    found = re.search(r"^k3s version (v\d+\.\d+\.\d+\+k3s\d+)", said, re.MULTILINE)
    return found[1] if found else ""


def _systemctl(verb: str) -> str:
    """One word; `systemctl` ends with other codes than 0 for words that are answers all the same."""
    return command.run(["systemctl", verb, "k3s"], timeout=_LOOK, check=False).stdout.strip()


def _nvidia(machine: Machine) -> bool | None:
    path = machine.at(f"{CONTAINERD}/config.toml")
    if not _there(path):
        return None
    found = containerd(_text(path))
    return found is not None and "nvidia" in found.runtimes


def _template(machine: Machine) -> str:
    for name in ("config-v3.toml.tmpl", "config.toml.tmpl"):
        path = machine.at(f"{CONTAINERD}/{name}")
        if _there(path) and _BASE not in _text(path):
            return f"{CONTAINERD}/{name}"
    return ""


def _ask(machine: Machine) -> tuple[Owner | None, bool]:
    try:
        api = KubernetesApi.from_kubeconfig(str(machine.at(KUBECONFIG)), stack=machine.stack, timeout=_API_SECONDS)
        return ownership.read_inside(api), ready(api, machine.plan.node)
    except LabError:
        return None, False


def _has(place: Path) -> bool:
    """Whether there is more than an empty folder or the owner's registries; a link that leads nowhere is more."""
    try:
        return bool(contents(place)) if place.is_dir() and not place.is_symlink() else os.path.lexists(place)
    except OSError:  # a folder that only root may list
        return True


def _there(path: Path) -> bool:
    """What a folder hides that only root may read is not there for an ordinary user."""
    return os.path.exists(path)  # noqa: PTH110  (Path.exists raises there)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
