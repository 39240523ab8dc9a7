"""What minikube and Docker mean when they fail: exit codes and sentences -> cause, and what to type."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence

from host.drivers.minikube.signatures import CODES, SENTENCES
from host.drivers.minikube.wanted import Wanted
from probes.diagnosis.nvidia import nvidia_problem
from probes.diagnosis.problem import fill
from stacks.errors import HostError

_EXITING = re.compile(r"Exiting due to ([A-Z0-9_]+)")
_TAIL = 12  # lines of output that a message shows


class MinikubeFailed(HostError):
    """minikube ended with another exit code than 0. `guest`: the node itself did not come up, everything else did."""

    def __init__(self, message: str, *, remedy: str, guest: bool) -> None:
        super().__init__(message, remedy=remedy)
        self.guest = guest


def minikube(wanted: Wanted, arguments: Sequence[str], code: int, output: str) -> MinikubeFailed:
    """The error for a call of minikube that ended with `code`."""
    cause, remedy = _explained(wanted, code, output)
    reason = _EXITING.search(output)
    said = f"minikube {arguments[0]} ended with {code}" + (f" ({reason[1]})" if reason else "")
    return MinikubeFailed(f"{cause}\n  {said}:\n{_tail(output)}", remedy=remedy, guest=80 <= code < 90 and code != 81)


def gpu_lost(wanted: Wanted, said: str) -> HostError:
    """The error for a node that was made with a GPU and does not see it."""
    if known := _nvidia(wanted, said):
        cause, remedy = known
    else:
        cause = "the node was made with a GPU and does not see it"
        remedy = "nvidia-smi must work on this machine, and docker run --rm --gpus all ubuntu nvidia-smi -L; then "
        remedy += f"./lab up {wanted.stack}"
    return HostError(f"{cause}\n  nvidia-smi in the node says:\n{_tail(said)}", remedy=remedy)


def docker(wanted: Wanted, code: int | None, output: str) -> HostError:
    """The error for a call of Docker that failed."""
    lowered, then = output.lower(), f"; then ./lab up {wanted.stack}"
    if code == 127:
        cause = "there is no docker on PATH"
        remedy = "install Docker Engine, or Docker Desktop with WSL integration for this distribution" + then
    elif "permission denied" in lowered:
        cause = "Docker does not let this user in"
        remedy = "sudo usermod -aG docker $USER, then a new login (or: newgrp docker)" + then
    elif "cannot connect to the docker daemon" in lowered or "is the docker daemon running" in lowered:
        cause = "Docker does not run"
        remedy = "sudo systemctl start docker (under WSL2: start Docker Desktop, or sudo service docker start)" + then
    else:
        cause, remedy = _explained(wanted, code or 0, output)
    return HostError(f"{cause}\n  docker ended with {code}:\n{_tail(output)}", remedy=remedy)


def _explained(wanted: Wanted, code: int, output: str) -> tuple[str, str]:
    if known := _nvidia(wanted, output):
        return known
    for text, cause, remedy in SENTENCES:
        if text.lower() in output.lower():
            return cause, _filled(wanted, remedy)
    for codes, cause, remedy in CODES:
        if code in codes:
            return cause, _filled(wanted, remedy)
    return (
        "a step failed",
        _filled(wanted, "./lab up {stack} tries it again; minikube logs -p {profile} says more"),
    )


def _nvidia(wanted: Wanted, said: str) -> tuple[str, str] | None:
    wsl = "microsoft" in platform.release().lower()
    found = nvidia_problem(said, wsl=wsl)
    if found is None:
        return None
    update = "install a newer NVIDIA driver" + (" in Windows" if wsl else "")
    words = {"stack": wanted.stack, "profile": wanted.profile, "minikube": wanted.plan.version}
    remedy = fill(found.remedy, {**words, "driver_install": update, "driver_update": update})
    return found.what, remedy if "./lab " in remedy else f"{remedy}; then ./lab up {wanted.stack}"


def _filled(wanted: Wanted, remedy: str) -> str:
    ports = f"{wanted.plan.ports[0]} to {wanted.plan.ports[-1]}"
    return fill(remedy, {"stack": wanted.stack, "profile": wanted.profile, "ports": ports})


def _tail(output: str) -> str:
    return "\n".join(f"    {line}" for line in output.strip().splitlines()[-_TAIL:])
