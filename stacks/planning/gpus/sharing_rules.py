"""Which way of sharing works on which card, platform, driver and cluster; each refusal says what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from stacks.planning.draft import Inputs
from stacks.planning.gpus import device_plugin
from stacks.settings import Mig, Mps, NvidiaMachine, Settings

Kind = Literal["none", "timeSlicing", "mps"]

_MPS_LEAST: Final = (7, 0)
"""Memory limits of MPS came with Volta: NVIDIA, Multi-Process Service, section 2.3.6."""
_MPS_48: Final = (7, 5)
_MPS_CLIENTS, _MPS_CLIENTS_OLDER = 48, 16
"""Clients of one MPS server: 48 from Volta on in NVIDIA's documentation; the device plugin allows 16 below 7.5."""
_SLICES: Final = "kind: timeSlicing"


def kind_of(settings: Settings) -> Kind:
    """What lets several pods on one card: as stated, or time-slicing where only machine.sharedCard says that they may;
    none where nothing does, and without Kubernetes.
    """
    machine, kind = settings.machine, settings.gpu.sharing.kind
    if kind in ("timeSlicing", "mps"):
        return "mps" if kind == "mps" else "timeSlicing"
    shared = isinstance(machine, NvidiaMachine) and machine.shared_card
    return "timeSlicing" if shared and device_plugin.mode(settings) is not None else "none"


def unsupported(inputs: Inputs) -> Iterator[str]:
    """Why the stack file's way of sharing does not work on its machine and cluster."""
    settings, machine = inputs.settings, inputs.settings.machine
    if not isinstance(machine, NvidiaMachine):
        return
    sharing = settings.gpu.sharing
    if wrong := device_plugin.unsuited(settings):
        yield wrong
    shares = sharing.kind != "none" or kind_of(settings) != "none"
    if shares and settings.cluster.driver == "existing":
        yield (
            "gpu.sharing: whoever runs an existing cluster configures its device plugin, and each engine has a card of "
            "its own there; remove gpu.sharing and machine.sharedCard"
        )
    if shares and device_plugin.mode(settings) == "patched":
        yield (
            "gpu.devicePlugin: patched gives the plugin no configuration, because minikube applies its add-on again at "
            "every start, and without one each card is offered once; write devicePlugin: owned"
        )
    if sharing.kind in ("mps", "mig") and machine.platform == "wsl2":
        yield f"gpu.sharing.kind: {sharing.kind} does not exist under WSL2; write {_SLICES}"
    if isinstance(sharing, Mps):
        yield from _mps(inputs, machine, sharing)
    if isinstance(sharing, Mig):
        yield from _mig(inputs, machine, sharing)


def _mps(inputs: Inputs, machine: NvidiaMachine, sharing: Mps) -> Iterator[str]:
    gpu = inputs.catalog.gpu(machine.gpu)
    if gpu.capability < _MPS_LEAST:
        yield (
            f"gpu.sharing.kind: mps limits memory from compute capability 7.0 on, and {gpu.name} has "
            f"{gpu.compute_capability.value}; write {_SLICES}"
        )
    most = _MPS_CLIENTS if gpu.capability >= _MPS_48 else _MPS_CLIENTS_OLDER
    if sharing.replicas is not None and sharing.replicas > most:
        yield f"gpu.sharing.replicas is {sharing.replicas}, and MPS serves {most} clients of a {gpu.name} at most"
    if machine.display and machine.platform == "linux":
        yield (
            "gpu.sharing.kind: mps takes the card for itself (compute mode EXCLUSIVE_PROCESS), and "
            f"machine.display says that a desktop draws on it; write {_SLICES}"
        )
    if gpu.unified_memory:
        yield f"gpu.sharing.kind: mps was never seen to work where memory is shared with the system; write {_SLICES}"
    if inputs.settings.cluster.driver == "minikube":
        yield (
            "gpu.sharing.kind: mps needs its control daemon on the machine, and minikube's node is a container; write "
            f"{_SLICES}, or driver: k3s"
        )


def _mig(inputs: Inputs, machine: NvidiaMachine, sharing: Mig) -> Iterator[str]:
    gpu, layout = inputs.catalog.gpu(machine.gpu), inputs.catalog.mig.get(machine.gpu)
    if layout is None:
        able = ", ".join(sorted(inputs.catalog.mig))
        yield f"gpu.sharing.kind: mig: {gpu.name} cannot be divided (these can: {able}); write {_SLICES}"
        return
    if sharing.profile not in layout.profiles:
        known = ", ".join(f"{name} ({p.instances} a card)" for name, p in layout.profiles.items())
        yield f"gpu.sharing.profile: {gpu.name} has no {sharing.profile}; write profile: one of {known}"
    if machine.nvidia_driver and int(machine.nvidia_driver.split(".")[0]) < layout.least_driver.value:
        yield (
            f"gpu.sharing.kind: mig needs driver {layout.least_driver.value} or newer on {gpu.name}, and "
            f"machine.nvidiaDriver is {machine.nvidia_driver}; install a newer one"
        )
    for model in inputs.settings.models:
        if (model.tensor_parallel or 1) > 1:
            yield (
                f"{model.name}: tensorParallel is {model.tensor_parallel}, and a process sees one MIG slice only; "
                "remove tensorParallel, or write a larger profile"
            )
