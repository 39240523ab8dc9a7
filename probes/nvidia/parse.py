"""What programs of the layers print, as values. Pure: no program is run here."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

QUERY: Final = ("index", "name", "uuid", "driver_version", "memory.total", "memory.free", "compute_cap")
"""The fields that nvidia-smi is asked for, in the order of a line."""

_NOTHING = frozenset({"", "N/A", "[N/A]", "[Not Supported]", "[Unknown Error]", "[Insufficient Permissions]"})
_RUNTIMES = (  # of containerd's configuration, version 3 (containerd 2) and version 2
    ("io.containerd.cri.v1.runtime", "containerd", "runtimes"),
    ("io.containerd.grpc.v1.cri", "containerd", "runtimes"),
)


@dataclass(frozen=True)
class Card:
    """One line of nvidia-smi; memory is in MiB (2^20), and what it does not know is None."""

    index: int | None
    name: str | None
    uuid: str | None
    driver: str | None
    total_mib: int | None
    free_mib: int | None
    compute_capability: tuple[int, int] | None


def cards(text: str) -> tuple[Card, ...]:
    """The cards in what `nvidia-smi --query-gpu=... --format=csv,noheader,nounits` printed; lines of another shape are
    left out.
    """
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return tuple(_card(row) for row in rows if len(row) == len(QUERY))


def _card(row: list[str]) -> Card:
    index, name, uuid, driver, total, free, capability = (None if field in _NOTHING else field for field in row)
    return Card(_int(index), name, uuid, driver, _int(total), _int(free), _capability(capability))


def _int(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _capability(text: str | None) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None


def listed_cards(text: str) -> tuple[str, ...]:
    """The UUIDs of cards and of their MIG parts that `nvidia-smi -L` prints."""
    return tuple(re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", text))


def missing_in_cdi(devices: Collection[str], listed: Sequence[str]) -> set[str]:
    """The cards of `nvidia-smi -L` that a CDI specification does not have. Where cards are split by MIG, the parts
    count and not the cards; a specification of an older toolkit has numbers only, of which there must be as many.
    """
    parts = {uuid for uuid in listed if uuid.startswith("MIG-")}
    wanted = parts or set(listed)
    named = {device for device in devices if device.startswith(("GPU-", "MIG-"))}
    if not named and sum(re.fullmatch(r"[0-9:]+", device) is not None for device in devices) == len(wanted):
        return set()
    return wanted - named


def toolkit_version(text: str) -> tuple[int, ...] | None:
    """The version in what `nvidia-ctk --version` prints, such as (1, 19, 1); None where there is none."""
    found = re.search(r"NVIDIA Container Toolkit CLI version (\d+(?:\.\d+)*)", text)
    return version(found[1]) if found else None


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, such as (28, 5, 1) of 28.5.1-ce."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def cdi_devices(text: str) -> tuple[str, ...]:
    """The names below nvidia.com/gpu= that `nvidia-ctk cdi list` prints, such as 0, all and GPU-...."""
    return tuple(re.findall(r"^nvidia\.com/gpu=(\S+)$", text, re.MULTILINE))


@dataclass(frozen=True)
class Docker:
    """What `docker info` says that matters here; `cdi`: whether this Docker resolves GPUs through CDI."""

    version: tuple[int, ...]
    system: str
    runtimes: frozenset[str]
    default_runtime: str
    cgroup_driver: str
    rootless: bool
    root: str

    @property
    def desktop(self) -> bool:
        """Whether it is Docker Desktop, whose daemon lives in a virtual machine of its own."""
        return "Docker Desktop" in self.system

    @property
    def cdi(self) -> bool:
        """Whether `--gpus` is resolved through CDI first: from Docker 29.2 on (moby#50228)."""
        return self.version >= (29, 2)


def docker(text: str) -> Docker | None:
    """What `docker info --format '{{json .}}'` printed; None where it is no such document or the daemon gave none."""
    try:
        found: Mapping[str, Any] = json.loads(text.strip().splitlines()[-1])
        if found.get("ServerErrors") or not found.get("ServerVersion"):
            return None
        return Docker(
            version=version(str(found["ServerVersion"])),
            system=str(found.get("OperatingSystem", "")),
            runtimes=frozenset(found.get("Runtimes") or {}),
            default_runtime=str(found.get("DefaultRuntime", "")),
            cgroup_driver=str(found.get("CgroupDriver", "")),
            rootless=any("rootless" in str(option) for option in found.get("SecurityOptions") or ()),
            root=str(found.get("DockerRootDir", "")),
        )
    except (ValueError, IndexError, AttributeError, TypeError):
        return None


def runtime_path(daemon_json: str) -> str | None:
    """The program of runtimes.nvidia in Docker's configuration where it is a full path; None otherwise."""
    try:
        path = json.loads(daemon_json)["runtimes"]["nvidia"]["path"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(path) if str(path).startswith("/") else None


@dataclass(frozen=True)
class Containerd:
    """A configuration of containerd: its version, its runtimes with the program of each, and its default runtime."""

    version: int
    runtimes: Mapping[str, str]
    default: str


def containerd(text: str) -> Containerd | None:
    """The configuration file of a containerd, of version 2 or 3; None where it is none."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    plugins = document.get("plugins", {})
    for plugin, part, key in _RUNTIMES:
        part_found = plugins.get(plugin, {}).get(part, {})
        if runtimes := part_found.get(key):
            programs = {name: str(r.get("options", {}).get("BinaryName", "")) for name, r in runtimes.items()}
            return Containerd(
                int(document.get("version", 1)), programs, str(part_found.get("default_runtime_name", ""))
            )
    return Containerd(int(document.get("version", 1)), {}, "")


@dataclass(frozen=True)
class System:
    """The distribution: `family` is debian, fedora, suse, arch or the like of it; `package` how packages are made."""

    name: str
    family: str


_FAMILIES = {
    "debian": {"debian", "ubuntu"},
    "fedora": {"fedora", "rhel", "centos", "amzn"},
    "suse": {"suse", "opensuse", "sles"},
    "arch": {"arch"},
}


def system(os_release: str) -> System:
    """The distribution that /etc/os-release names; family `other` where it is none that is known."""
    pairs = (line.partition("=") for line in os_release.splitlines() if "=" in line)
    fields = {key: value.strip().strip("\"'") for key, _, value in pairs}
    words = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    family = next((family for word in words for family, likes in _FAMILIES.items() if word in likes), "other")
    return System(fields.get("ID", "linux"), family)
