"""What is to be done about what was seen: pure."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from host.drivers.k3s.machine import BINARY, Machine
from host.drivers.k3s.observe import Observed

Step = Literal["remove", "binary", "config", "unit", "enable", "start", "restart"]


class Refusal(NamedTuple):
    """Why nothing is changed, and what to type."""

    reason: str
    remedy: str


_CONF = "/etc/wsl.conf"


def foreign(seen: Observed, machine: Machine) -> Refusal | None:
    """Why what is there is not this stack's; None where it is, and where there is nothing."""
    if seen.mark is None and seen.has:
        return Refusal(
            f"{', '.join(seen.has)}: a K3s or another Kubernetes is here, which the lab did not install",
            "remove that K3s yourself (/usr/local/bin/k3s-uninstall.sh), or use driver docker; "
            f"then: ./lab up {machine.stack}",
        )
    for found in (seen.mark.owner if seen.mark else None, seen.inside):
        if found is not None and not found.is_ours(machine.ours):
            return Refusal(
                f"the K3s of this machine belongs to stack {found.stack} of {found.project}",
                f"a machine has one K3s: work there, or remove it there first (./lab down {found.stack})",
            )
    return None


def refusal(seen: Observed, machine: Machine) -> Refusal | None:
    """Why `ensure` can do nothing here; None where it can."""
    if found := early_refusal(seen, machine):
        return found
    if not seen.toolkit:
        return Refusal(
            "the NVIDIA container toolkit is not installed, without which K3s' default runtime starts no pod",
            f"./lab doctor {machine.stack} shows the layer; ./lab up {machine.stack} installs it once you agree",
        )
    return None


def early_refusal(seen: Observed, machine: Machine) -> Refusal | None:
    """What of it can be said before the NVIDIA layers are made, anything is fetched, or anybody is asked for root."""
    again = f"./lab up {machine.stack}"
    if not seen.systemd:
        wsl = f"write [boot] and systemd=true into {_CONF}, then in Windows: wsl --shutdown; then: {again}"
        return Refusal(
            "systemd does not run here, and K3s is one of its services",
            wsl if seen.wsl else "use driver docker, or a Linux with systemd",
        )
    if found := foreign(seen, machine):
        return found
    if seen.template:
        return Refusal(
            f"{seen.template} takes the place of the configuration that K3s writes, and does not include it: NVIDIA's "
            "runtime is lost",
            f"sudo mv {seen.template} {seen.template}.old; then: {again}",
        )
    if seen.drop_ins:
        return Refusal(
            f"{', '.join(seen.drop_ins)}: K3s is told something else there than the plan says",
            f"move {'them' if len(seen.drop_ins) > 1 else 'it'} out of that folder; then: {again}",
        )
    return _version(seen, machine) if not (seen.mark and seen.mark.removing) else None


def steps(seen: Observed, machine: Machine) -> tuple[Step, ...]:
    """What `ensure` does, in this order; nothing where all is as planned. For a machine that is not refused."""
    removing = seen.mark is not None and seen.mark.removing
    if removing:
        return ("remove", "binary", "config", "unit", "enable", "start")
    files: list[Step] = []
    files += [] if seen.binary else ["binary"]
    files += [] if seen.config else ["config"]
    files += [] if seen.unit else ["unit"]
    started_by_other = seen.mark is None or seen.mark.identity != machine.identity()
    if seen.service not in _RUNS:
        last: list[Step] = ["start"]
    elif files or started_by_other or seen.nvidia is False:
        last = ["restart"]
    else:
        last = []
    return (*files, *(() if seen.enabled and seen.unit and not started_by_other else ("enable",)), *last)


_RUNS: Final = ("active", "activating", "reloading")


def _version(seen: Observed, machine: Machine) -> Refusal | None:
    """Kubernetes goes one minor version up at a time, and never down."""
    have, want = _numbers(seen.version), _numbers(machine.plan.kubernetes)
    anew = f"./lab down {machine.stack}, then ./lab up {machine.stack}; the weights stay"
    if not have or have == want:
        return None
    if have > want:
        return Refusal(f"{BINARY} is {seen.version}, newer than {machine.plan.kubernetes}: K3s does not go back", anew)
    if have[0] != want[0] or want[1] - have[1] > 1:
        return Refusal(
            f"{BINARY} is {seen.version}, more than one minor version before {machine.plan.kubernetes}", anew
        )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    found = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)\+k3s(\d+)", version)
    return tuple(int(number) for number in found.groups()) if found else ()
