"""Probes of the machine's own layers: driver, container toolkit, Docker's runtime, CDI, links in /dev/char, and a
container that lists the cards. Each looks and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from probes.diagnosis.nvidia import UNKNOWN, classify_log, figures
from probes.diagnosis.nvidia_signatures import BY_IDENT
from probes.diagnosis.problem import clean, fill
from probes.nvidia import parse
from probes.nvidia.advice import driver_words
from probes.nvidia.layer import Layer, Machine, Ran, is_wsl
from stacks.plan import NvidiaHostPlan

_WSL_SMI = "/usr/lib/wsl/lib/nvidia-smi"
_DAEMON = "/etc/docker/daemon.json"
_LEAST_DOCKER = (20, 10)
_BROKEN_TOOLKIT = (1, 20, 0)
_JIT_CDI = (1, 18)  # from here on the runtime's mode `auto` makes CDI's changes by itself
_TOOLKIT_CONFIG = "/etc/nvidia-container-runtime/config.toml"


@dataclass(frozen=True)
class HostProbe:
    """The machine against what the plan wants of it; each program is run once."""

    machine: Machine
    wanted: NvidiaHostPlan
    stack: str = "STACK"

    def layers(self, smoke_image: str | None = None) -> tuple[Layer, ...]:
        """Every layer of the machine. `smoke_image`: an image on the machine, from which a container is started that
        lists the cards and is removed; without it that layer is skipped.
        """
        found = [self.driver(), self.toolkit()]
        if self.wanted.runtime == "docker":
            found += [self.runtime(), self.cdi(), self.device_links(), self.container(smoke_image)]
        return tuple(found)

    def driver(self) -> Layer:
        """nvidia-smi answers, with the cards and the driver that the plan needs."""
        if self.wsl and not self.machine.exists("/dev/dxg"):
            return self.broken("driver", "wsl-no-dxg", "there is no /dev/dxg")
        ran, cards = self.smi, parse.cards(self.smi.output)
        if not ran.ok or not cards:
            return self._no_cards(ran)
        said = "; ".join(_words(card) for card in cards)
        version = cards[0].driver or "0"
        if self.wanted.least_driver and parse.version(version) < (self.wanted.least_driver,):
            return self.broken("driver", "driver-old", said, have=version, least=str(self.wanted.least_driver))
        if len(cards) < self.wanted.gpus:
            return self.broken("driver", "fewer-cards", said, have=str(len(cards)), wanted=str(self.wanted.gpus))
        return Layer("driver", "ok", said)

    def toolkit(self) -> Layer:
        """nvidia-ctk is there and of a release that is safe."""
        if self.desktop:
            return Layer("toolkit", "skipped", "Docker Desktop has its own")
        ran = self.machine.run(["nvidia-ctk", "--version"])
        version = parse.toolkit_version(ran.output)
        if version is None:
            return self.broken("toolkit", "toolkit-missing", ran.output or "nvidia-ctk says nothing")
        have, least = ".".join(map(str, version)), self.wanted.toolkit_least
        if version < parse.version(least):
            return self.broken("toolkit", "toolkit-old", f"nvidia-ctk {have}", have=have, least=least)
        if version == _BROKEN_TOOLKIT:
            return self.broken("toolkit", "toolkit-1.20.0", f"nvidia-ctk {have}").warned()
        return Layer("toolkit", "ok", f"nvidia-ctk {have}")

    def runtime(self) -> Layer:
        """The Docker daemon answers and knows the NVIDIA runtime."""
        docker = self.docker
        if docker is None:
            return self.said("runtime", self.docker_info, "docker-down")
        have = ".".join(map(str, docker.version))
        said = f"Docker {have}, runtimes {', '.join(sorted(docker.runtimes))}, default {docker.default_runtime}"
        if docker.version < _LEAST_DOCKER:
            return self.broken("runtime", "docker-old", said, have=have)
        if docker.desktop:
            if not self.wsl:
                return self.broken("runtime", "docker-desktop-linux", docker.system)
            return Layer("runtime", "ok", f"Docker Desktop {have}, which has the NVIDIA runtime built in")
        if docker.rootless:
            return self.broken("runtime", "docker-rootless", said)
        if "nvidia" not in docker.runtimes:
            written = '"nvidia"' in (self.machine.read(_DAEMON) or "")
            return self.broken("runtime", "runtime-not-restarted" if written else "runtime-missing", said)
        if (path := parse.runtime_path(self.machine.read(_DAEMON) or "")) and not self.machine.exists(path):
            return self.broken("runtime", "runtime-path", f"runtimes.nvidia.path is {path}", path=path)
        return Layer("runtime", "ok", said)

    def cdi(self) -> Layer:
        """The CDI specification names the cards that nvidia-smi lists."""
        if self.desktop:
            return Layer("cdi", "skipped", "Docker Desktop has its own")
        ran, listed = self.machine.run(["nvidia-ctk", "cdi", "list"]), parse.listed_cards(self.smi_list.output)
        if ran.code == 127 or not listed:
            return Layer("cdi", "skipped", "driver and toolkit first")
        devices = parse.cdi_devices(ran.output)
        if "all" not in devices:
            needed = self.docker is not None and self.docker.cdi
            layer = self.broken("cdi", "cdi-missing", ran.output)
            return layer if needed else layer.warned()
        missing = set() if self.wsl else parse.missing_in_cdi(devices, listed)  # WSL2 has one device for all cards
        if missing:
            have, wanted = ", ".join(devices), ", ".join(sorted(missing))
            return self.broken("cdi", "cdi-stale", ran.output, have=have, wanted=wanted)
        return Layer("cdi", "ok", f"{len(devices)} devices: {', '.join(devices)}")

    def device_links(self) -> Layer:
        """Where devices are given without CDI under systemd's cgroups, each has its link in /dev/char."""
        if not self.links_matter:
            return Layer("device-links", "skipped", self._why_no_links())
        devices = [n for n in self.machine.names("/dev") if n.startswith("nvidia") and n[6:].isdigit()]
        missing = [n for n in devices if not self.machine.exists(f"/dev/char/195:{n[6:]}")]
        if missing:
            said = ", ".join(f"/dev/{name}" for name in missing)
            return self.broken("device-links", "links-missing", f"no link for {said}").warned()
        return Layer("device-links", "ok", f"{len(devices)} links in /dev/char")

    def container(self, image: str | None) -> Layer:
        """A container of `image` lists the cards; the container is removed."""
        if image is None:
            return Layer("cuda", "skipped", "no container was started")
        words = ["docker", "run", "--rm", "--pull=never", "--gpus=all", "--entrypoint=nvidia-smi", image, "-L"]
        ran = self.machine.run(words, 120.0)
        if ran.ok and parse.listed_cards(ran.output):
            return Layer("cuda", "ok", clean(ran.output))
        return self.said("cuda", ran, "cuda-no-card", said=clean(ran.output) or "nothing")

    @property
    def links_matter(self) -> bool:
        """Whether a container's devices are lost at a daemon-reload unless /dev/char has links for them."""
        docker, version = self.docker, self.toolkit_version
        if self.wsl or docker is None or docker.desktop or docker.cgroup_driver != "systemd" or docker.cdi:
            return False
        legacy = 'mode = "legacy"' in (self.machine.read(_TOOLKIT_CONFIG) or "")
        return version is not None and (version < _JIT_CDI or legacy)

    def _why_no_links(self) -> str:
        if self.wsl:
            return "WSL2 has no /dev/nvidia*"
        if self.docker is None or self.docker.desktop:
            return "no Docker daemon on this machine"
        return "not needed: CDI, or cgroups that are not systemd's"

    @cached_property
    def wsl(self) -> bool:
        """Whether this is WSL."""
        return is_wsl(self.machine)

    @cached_property
    def desktop(self) -> bool:
        """Whether the machine's Docker is Docker Desktop."""
        return self.wanted.runtime == "docker" and self.docker is not None and self.docker.desktop

    @cached_property
    def smi(self) -> Ran:
        """nvidia-smi's figures of every card."""
        return self._smi(f"--query-gpu={','.join(parse.QUERY)}", "--format=csv,noheader,nounits")

    @cached_property
    def smi_list(self) -> Ran:
        """nvidia-smi's list of cards and of their parts."""
        return self._smi("-L")

    @cached_property
    def toolkit_version(self) -> tuple[int, ...] | None:
        """The toolkit's release; None where there is none."""
        return parse.toolkit_version(self.machine.run(["nvidia-ctk", "--version"]).output)

    @cached_property
    def docker_info(self) -> Ran:
        """docker info, as it came."""
        return self.machine.run(["docker", "info", "--format", "{{json .}}"])

    @cached_property
    def docker(self) -> parse.Docker | None:
        """What docker info says; None where the daemon does not answer."""
        return parse.docker(self.docker_info.output) if self.docker_info.ok else None

    def broken(self, layer: str, ident: str, evidence: str, **words: str) -> Layer:
        """The layer with cause and fix of a signature, its places filled in."""
        signature, filled = BY_IDENT[ident], {**self._advice(), **words}
        cause, fix = fill(signature.what, filled), fill(signature.remedy, filled)
        return Layer(layer, "fail", clean(evidence), cause, fix, ident)

    def said(self, layer: str, ran: Ran, otherwise: str, **words: str) -> Layer:
        """The layer with the signature of what a program said; `otherwise` where it said nothing that is known."""
        found = classify_log(ran.output, wsl=self.wsl)
        if found.ident == UNKNOWN:
            return self.broken(layer, otherwise, ran.output or "no answer", **words)
        return self.broken(layer, found.ident, found.evidence, **{**figures(found), **words})

    def _no_cards(self, ran: Ran) -> Layer:
        if ran.code == 127 and "nouveau " in (self.machine.read("/proc/modules") or ""):
            return self.broken("driver", "nouveau", "nouveau is loaded")
        if ran.code == 127 and self.wsl:
            return self.broken("driver", "wsl-no-driver", "nvidia-smi: not found")
        return self.said("driver", ran, "no-driver" if ran.code == 127 else "no-card")

    def _smi(self, *words: str) -> Ran:
        ran = self.machine.run(["nvidia-smi", *words])
        return self.machine.run([_WSL_SMI, *words]) if ran.code == 127 and self.machine.exists(_WSL_SMI) else ran

    def _advice(self) -> dict[str, str]:
        install, update = driver_words(parse.system(self.machine.read("/etc/os-release") or ""), wsl=self.wsl)
        pinned = self.wanted.toolkit
        packages = " ".join(f"{name}={pinned}-1" for name in TOOLKIT_PACKAGES)
        downgrade = f"sudo apt-get install --allow-downgrades {packages}"
        return {
            "driver_install": install, "driver_update": update, "pinned": pinned, "toolkit_packages": downgrade,
            "stack": self.stack,
        }  # fmt: skip


TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1",
)  # fmt: skip
"""The four packages of one release, which must have one version."""


def _words(card: parse.Card) -> str:
    capability = ".".join(map(str, card.compute_capability)) if card.compute_capability else "unknown"
    return (
        f"{card.name or 'a card without a name'}, driver {card.driver or 'unknown'}, {card.free_mib} of "
        f"{card.total_mib} MiB free, compute capability {capability}"
    )
