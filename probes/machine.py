"""What this machine is: cards, memory, processors, disk, and what is installed. Looks, and never raises."""

from __future__ import annotations

import json
import re

from probes.nvidia.layer import NOT_FOUND, Machine, Ran, is_wsl
from probes.nvidia.parse import docker, system
from stacks.found_machine import FoundCard, FoundMachine, Holder

QUERY = (
    "name", "driver_version", "memory.total", "memory.used", "compute_cap", "display_active", "mig.mode.current",
)  # fmt: skip
OLD_QUERY = QUERY[:4]
"""Drivers before 510 do not know compute_cap and refuse the whole query."""

APPS = ("pid", "process_name", "used_memory")
_CSV = "--format=csv,noheader,nounits"
_WSL_SMI = "/usr/lib/wsl/lib/nvidia-smi"
_DISKS = ("/var/lib/docker", "/var/lib/rancher", "/var/lib", "/")
_NVIDIA = "0x10de"  # the PCI vendor
_DISPLAY_CLASS = "0x03"  # of the PCI bus: VGA and 3D controllers


def look(machine: Machine) -> FoundMachine:
    """The machine as it is now. What cannot be read is left out."""
    smi = _cards_said(machine)
    cards = read_cards(smi.output) if smi.ok else ()
    daemon = docker(machine.run(["docker", "info", "--format", "{{json .}}"]).output)
    free, total = _disk(machine, daemon.root if daemon else "")
    release = machine.read("/etc/os-release") or ""
    return FoundMachine(
        architecture=machine.run(["uname", "-m"]).output.strip() or "x86_64",
        wsl=is_wsl(machine),
        board=(machine.read("/proc/device-tree/model") or "").strip("\0 \n"),
        memory_mib=_memory_mib(machine.read("/proc/meminfo") or ""),
        cpus=max(1, len(re.findall(r"^processor\s*:", machine.read("/proc/cpuinfo") or "", re.MULTILINE))),
        disk_free_mib=free,
        disk_total_mib=total,
        cards=cards,
        holders=holders(machine) if cards else (),
        silent="" if cards or smi.code == NOT_FOUND else smi.output.strip() or "nvidia-smi lists no card",
        nvidia_device=_has_nvidia_device(machine),
        docker=".".join(map(str, daemon.version)) if daemon else "",
        docker_desktop=daemon is not None and daemon.desktop,
        minikube=machine.run(["minikube", "version", "--short"]).ok,
        k3s=machine.exists("/usr/local/bin/k3s") or machine.exists("/etc/rancher/k3s"),
        kubeconfig=_has_context(machine),
        systemd=machine.exists("/run/systemd/system"),  # as sd_booted(3) asks
        debian=system(release).family == "debian",
        windows_mib=_windows_mib(machine) if is_wsl(machine) else None,
        root=machine.run(["id", "-u"]).output.strip() == "0" or machine.run(["sudo", "-V"]).ok,
    )


def look_at_cards(machine: Machine) -> tuple[FoundCard, ...]:
    """The cards alone; empty where nvidia-smi lists none."""
    smi = _cards_said(machine)
    return read_cards(smi.output) if smi.ok else ()


def _cards_said(machine: Machine) -> Ran:
    smi = _smi(machine, f"--query-gpu={','.join(QUERY)}")
    return _smi(machine, f"--query-gpu={','.join(OLD_QUERY)}") if "is not a valid field" in smi.output else smi


def read_cards(text: str) -> tuple[FoundCard, ...]:
    """The cards in what nvidia-smi printed for QUERY or OLD_QUERY, one a line."""
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return tuple(_card(row) for row in rows if len(row) in (len(QUERY), len(OLD_QUERY)) and row[0])


def holders(machine: Machine) -> tuple[Holder, ...]:
    """The programs that compute on a card, the largest first; empty where the driver names none (WSL2)."""
    ran = _smi(machine, f"--query-compute-apps={','.join(APPS)}")
    rows = [[field.strip() for field in line.rsplit(",", 1)] for line in ran.output.splitlines() if ran.ok]
    found = []
    for row in rows:
        pid, _, name = row[0].partition(",")
        if len(row) == 2 and pid.isdigit():
            found.append(Holder(int(pid), name.strip(), _int(row[1])))
    return tuple(sorted(found, key=lambda h: (-(h.mib or 0), h.pid)))


def _card(row: list[str]) -> FoundCard:
    name, driver, total, used, *more = row
    capability, display, mig = more or ["", "", ""]
    found = re.fullmatch(r"(\d+)\.(\d+)", capability)
    return FoundCard(
        name=name,
        driver=driver if driver[:1].isdigit() else None,
        total_mib=_int(total),
        used_mib=_int(used),
        capability=(int(found[1]), int(found[2])) if found else None,
        display=display == "Enabled",
        mig=mig == "Enabled",
    )


def _smi(machine: Machine, query: str) -> Ran:
    ran = machine.run(["nvidia-smi", query, _CSV])
    return machine.run([_WSL_SMI, query, _CSV]) if ran.code == NOT_FOUND and machine.exists(_WSL_SMI) else ran


def _int(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _memory_mib(meminfo: str) -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def _windows_mib(machine: Machine) -> int | None:
    """Windows' own RAM, which Linux under WSL2 cannot see; None where Windows' programs cannot be run from Linux."""
    asked = "(Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory"
    ran = machine.run(["powershell.exe", "-NoProfile", "-NonInteractive", "-Command", asked])
    size = _int(ran.output.strip()) if ran.ok else None
    return size // 2**20 if size else None


def _disk(machine: Machine, docker_root: str) -> tuple[int | None, int | None]:
    """MiB free and in all of the disk where images go."""
    for path in (docker_root, *_DISKS):
        if path and machine.exists(path):
            ran = machine.run(["df", "-P", "-k", path])
            fields = ran.output.splitlines()[-1].split() if ran.ok and ran.output.strip() else []
            if len(fields) >= 6 and fields[1].isdigit() and fields[3].isdigit():
                return int(fields[3]) // 1024, int(fields[1]) // 1024
    return None, None


def _has_nvidia_device(machine: Machine) -> bool:
    folder = "/sys/bus/pci/devices"
    for name in machine.names(folder):
        vendor, kind = (machine.read(f"{folder}/{name}/{file}") or "" for file in ("vendor", "class"))
        if vendor.strip() == _NVIDIA and kind.startswith(_DISPLAY_CLASS):
            return True
    return False


def _has_context(machine: Machine) -> bool:
    ran = machine.run(["kubectl", "config", "view", "-o", "json"])
    try:
        return ran.ok and bool(json.loads(ran.output).get("contexts"))
    except (ValueError, AttributeError):
        return False
