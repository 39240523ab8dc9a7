"""What a machine was found to be: facts that `lab init` looks up and a stack file is proposed from. No judgement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoundCard:
    """One card as nvidia-smi reports it; memory is in MiB (2^20), and what it does not know is None."""

    name: str
    driver: str | None = None
    total_mib: int | None = None
    used_mib: int | None = None
    capability: tuple[int, int] | None = None
    display: bool = False
    mig: bool = False


@dataclass(frozen=True)
class Holder:
    """A program that holds memory of a card, MiB (2^20); None where the driver does not say how much."""

    pid: int
    name: str
    mib: int | None


@dataclass(frozen=True)
class FoundMachine:
    """A machine: `board` is the device tree's model (Jetson boards), `silent` what nvidia-smi said where it listed no
    card, `nvidia_device` whether the PCI bus has an NVIDIA card whatever the driver says, `windows_mib` the RAM of
    Windows where Linux runs under WSL2, `root` whether root rights can be had, perhaps for a password.

    Sizes are MiB (2^20).
    """

    architecture: str = "x86_64"
    wsl: bool = False
    board: str = ""
    memory_mib: int = 0
    windows_mib: int | None = None
    cpus: int = 1
    disk_free_mib: int | None = None
    disk_total_mib: int | None = None
    cards: tuple[FoundCard, ...] = ()
    holders: tuple[Holder, ...] = ()
    silent: str = ""
    nvidia_device: bool = False
    docker: str = ""
    docker_desktop: bool = False
    minikube: bool = False
    k3s: bool = False
    kubeconfig: bool = False
    systemd: bool = False
    debian: bool = False
    root: bool = False

    @property
    def unified(self) -> bool:
        """Whether processor and GPU share the memory: Jetson boards, and cards that report none of their own."""
        return "jetson" in self.board.lower() or (bool(self.cards) and all(c.total_mib is None for c in self.cards))
