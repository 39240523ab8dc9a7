"""NVIDIA's container toolkit from NVIDIA's own package repository, by the system's package manager."""

from __future__ import annotations

import platform
import re

import httpx

from host.drivers.nvidia import docker, openpgp
from host.drivers.nvidia.host import Host, refused
from host.system import command
from host.system.progress import step
from probes.diagnosis.nvidia import nvidia_problem
from probes.diagnosis.problem import fill
from probes.nvidia.host import TOOLKIT_PACKAGES
from probes.nvidia.parse import system
from stacks.errors import HostError

REPOSITORY = "https://nvidia.github.io/libnvidia-container"
# NVIDIA's documented places: who follows its guide later writes the same files, and apt has one list and one key
LIST = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"
KEYRING = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"
REPO = "/etc/yum.repos.d/nvidia-container-toolkit.repo"
RPM_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-container-toolkit"
_GUIDE = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
_PENDING = "toolkit"
_CURABLE = frozenset({"toolkit-missing", "toolkit-old"})
_MOST_KEY = 1 << 16  # bytes; NVIDIA's key has about 3,000
_ARCHITECTURES = frozenset({"x86_64", "aarch64"})  # NVIDIA's repository has packages for these
_HALF = re.compile(r"^(?P<package>\S+) .[UFHWt]", re.MULTILINE)  # dpkg's second letter: unpacked, half-configured, ...


def needed(host: Host) -> bool:
    """Whether it is missing, older than the plan allows, or was left half installed."""
    layer = host.probe().toolkit()
    return layer.signature in _CURABLE or host.record.pending(_PENDING) or bool(_half_installed(host))


def install(host: Host) -> None:
    """The plan's release, or a newer one, is installed and whole afterwards."""
    if not needed(host):
        return
    family = system(host.machine.read("/etc/os-release") or "").family
    if family not in ("debian", "fedora"):
        raise HostError(
            "the NVIDIA container toolkit is installed with apt or dnf, and this system has another package manager",
            remedy=f"install it as NVIDIA says, then: ./lab up {host.stack}. {_GUIDE}",
        )
    if platform.machine() not in _ARCHITECTURES:
        raise HostError(f"NVIDIA has no container toolkit for {platform.machine()}", remedy=_GUIDE)
    with step(f"NVIDIA container toolkit {host.wanted.toolkit}"):
        host.record.begin(_PENDING)
        if "docker" in host.wanted.steps:
            host.record.begin(docker.RESTART)  # a daemon learns of the toolkit's hook when it starts
        host.record.made("toolkit")
        (_with_apt if family == "debian" else _with_dnf)(host)
    layer = host.probe().toolkit()
    if layer.state == "fail":
        raise refused(layer, "it was installed, and ")
    host.record.done(_PENDING)
    host.changed.append(f"nvidia-container-toolkit {host.wanted.toolkit}")


def _with_apt(host: Host) -> None:
    if not _named(host, "/etc/apt/sources.list.d", "/etc/apt/sources.list"):
        key = _key(host)
        host.write(KEYRING, openpgp.dearmored(key), "toolkit")
        host.write(LIST, f"deb [signed-by={KEYRING}] {REPOSITORY}/stable/deb/$(ARCH) /\n", "toolkit")
    if half := _half_installed(host):
        command.run(["dpkg", "--configure", *half], timeout=600)  # what a killed run left; nothing of others
    only = [] if not host.at(LIST).exists() else [
        "-o", f"Dir::Etc::sourcelist={LIST}", "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Get::List-Cleanup=0"
    ]  # fmt: skip
    _packages(host, ["apt-get", *only, "update"])
    wanted = [f"{name}={host.wanted.toolkit}-1" for name in TOOLKIT_PACKAGES]
    options = ["-o", "DPkg::Lock::Timeout=300", "--yes", "--no-install-recommends"]
    _packages(host, ["apt-get", *options, "install", *wanted])


def _half_installed(host: Host) -> list[str]:
    """Those of the four packages that dpkg unpacked and did not finish."""
    show = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev} ${Version}\\n", *TOOLKIT_PACKAGES]
    return _HALF.findall(host.machine.run(show).output)


def _with_dnf(host: Host) -> None:
    if not _named(host, "/etc/yum.repos.d"):
        host.write(RPM_KEY, _key(host), "toolkit")
        host.write(
            REPO,
            "[nvidia-container-toolkit]\nname=nvidia-container-toolkit\n"
            f"baseurl={REPOSITORY}/stable/rpm/$basearch\nrepo_gpgcheck=1\ngpgcheck=0\nenabled=1\n"
            f"gpgkey=file://{RPM_KEY}\nsslverify=1\n",
            "toolkit",
        )
    wanted = [f"{name}-{host.wanted.toolkit}-1" for name in TOOLKIT_PACKAGES]
    _packages(host, ["dnf", "--assumeyes", "install", *wanted])


def _named(host: Host, *places: str) -> bool:
    """Whether a list of the package manager names NVIDIA's repository already; comments do not count."""
    listed = [p for place in places for p in ([f"{place}/{n}" for n in host.machine.names(place)] or [place])]
    texts = (host.machine.read(path) or "" for path in listed)
    lines = (line.strip() for text in texts for line in text.splitlines())
    return any("nvidia.github.io/libnvidia-container" in line and not line.startswith("#") for line in lines)


def _key(host: Host) -> str:
    """NVIDIA's key, armored. Raises HostError where it cannot be had, or is not the pinned one."""
    try:
        answer = httpx.get(f"{REPOSITORY}/gpgkey", timeout=30.0, follow_redirects=True)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise HostError(
            f"{REPOSITORY}/gpgkey cannot be had ({error})",
            remedy=f"check the network or HTTPS_PROXY, then: ./lab up {host.stack}; or install the toolkit by hand: "
            f"{_GUIDE}",
        ) from None
    text = answer.text[:_MOST_KEY]
    try:
        found = openpgp.fingerprints(openpgp.dearmored(text))
    except ValueError as error:
        found = [f"none ({error})"]
    if found != [host.wanted.toolkit_key]:
        raise HostError(
            f"the key at {REPOSITORY}/gpgkey has the fingerprint {', '.join(found)}, and {host.wanted.toolkit_key} is "
            "expected: nothing was installed",
            remedy=f"a proxy may have answered, or NVIDIA has a new key; look at {_GUIDE} before you trust it",
        )
    return text


def _packages(host: Host, words: list[str]) -> None:
    """Runs the package manager. Raises HostError with the cause where its sentence is known."""
    try:
        command.run(words, timeout=1800, environment={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    except command.CommandFailed as failed:
        if problem := nvidia_problem(failed.output):
            remedy = fill(problem.remedy, {"stack": host.stack})
            raise HostError(f"{problem.what} ({problem.evidence})", remedy=remedy) from None
        raise
