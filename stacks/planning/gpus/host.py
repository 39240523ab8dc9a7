"""What the machine itself must have before a container can use its GPUs, and how the consent prompt says it."""

from __future__ import annotations

from typing import Final

from stacks.plan import HostChange, NvidiaHostPlan, NvidiaRuntime, NvidiaStep
from stacks.planning.draft import Inputs
from stacks.settings import NvidiaMachine

STEPS: Final[dict[tuple[NvidiaRuntime, str], tuple[NvidiaStep, ...]]] = {
    ("docker", "linux"): ("toolkit", "docker", "cdi", "device-links"),
    ("docker", "wsl2"): ("toolkit", "docker", "cdi"),  # Linux under WSL2 has no /dev/nvidia* that links could name
    # K3s looks for the toolkit when it starts, and writes the configuration of its containerd itself
    ("k3s", "linux"): ("toolkit",),
    ("k3s", "wsl2"): ("toolkit",),
}


def host_plan(inputs: Inputs, runtime: NvidiaRuntime | None, *, least_driver: int | None) -> NvidiaHostPlan | None:
    """The steps for the machine and the container runtime on it; None without a GPU, and where `runtime` is None.
    `least_driver` is the first number of the oldest driver that the stack's images run on.
    """
    machine, catalog = inputs.settings.machine, inputs.catalog
    if runtime is None or not isinstance(machine, NvidiaMachine):
        return None
    return NvidiaHostPlan(
        runtime=runtime,
        platform=machine.platform,
        gpus=machine.gpus,
        least_driver=least_driver,
        steps=STEPS[runtime, machine.platform],
        toolkit=str(catalog.fact("nvidiaToolkit.version").value),
        toolkit_least=str(catalog.fact("nvidiaToolkit.least").value),
        toolkit_key=str(catalog.fact("nvidiaToolkit.keyFingerprint").value),
    )


def host_changes(host: NvidiaHostPlan | None) -> list[HostChange]:
    """One change for each step of the plan, in its order."""
    return [_change(step, host) for step in host.steps] if host else []


def _change(step: NvidiaStep, host: NvidiaHostPlan) -> HostChange:
    if step == "toolkit":
        desktop = "; not with Docker Desktop" if host.runtime == "docker" else ""
        return HostChange(
            kind="package",
            what=f"NVIDIA container toolkit {host.toolkit}, unless {host.toolkit_least} or newer is installed",
            root=True,
            note=f"from NVIDIA's repository, whose list and key are written; the package's own service "
            f"nvidia-cdi-refresh writes /var/run/cdi/nvidia.yaml; noted in /var/lib/local-ai-lab/nvidia.json{desktop}",
        )
    if step == "docker":
        return HostChange(
            kind="service",
            what="/etc/docker/daemon.json gets runtimes.nvidia and Docker restarts, unless it knows that runtime",
            root=True,
            command="nvidia-ctk runtime configure --runtime=docker",
            note="the file before it is kept; a restart stops every running container: `up` names them and asks",
        )
    if step == "cdi":
        return HostChange(
            kind="file",
            what="/var/run/cdi/nvidia.yaml, unless it names the cards that nvidia-smi lists",
            root=True,
            command="nvidia-ctk cdi generate --output=/var/run/cdi/nvidia.yaml",
            note="by the toolkit's own service nvidia-cdi-refresh, which is switched on, where it has one",
        )
    return HostChange(
        kind="file",
        what="links in /dev/char and /etc/udev/rules.d/71-nvidia-dev-char.rules, which makes them at each start",
        root=True,
        command="nvidia-ctk system create-dev-char-symlinks --create-all",
        note="only where containers get GPUs without CDI under systemd's cgroups: `systemctl daemon-reload` takes them",
    )
