"""`ensure`, `status` and `destroy` of the machine's NVIDIA layers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from host.drivers import specification
from host.drivers.nvidia import devices, docker, toolkit
from host.drivers.nvidia.host import Host
from host.system import command, files
from host.system.looking import ThisMachine
from stacks.errors import HostError
from stacks.plan import NvidiaHostPlan, NvidiaStep, canonical

ROOT = Path("/")
_PROJECT = Path(__file__).parents[3]
_REPAIR_SECONDS = 3600.0  # packages over a slow line
_UNDO = {
    "toolkit": "sudo apt-get remove nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container-tools "
    "libnvidia-container1 (dnf remove on Fedora); then the files above",
    "docker": "put {backup} back as /etc/docker/daemon.json, or take runtimes.nvidia out of it; sudo systemctl restart "
    "docker",
    "cdi": "sudo systemctl disable --now nvidia-cdi-refresh.path; sudo rm /var/run/cdi/nvidia.yaml",
    "device-links": "the files above; the links go at the next start",
}


def ensure(environment: Mapping[str, str]) -> None:
    """Containers of the plan's runtime can use the GPUs afterwards; prints one JSON line of what was changed. Raises
    HostError with the layer's cause and what to type.
    """
    host = _host(environment)
    _require_driver(host)
    steps = needed(host)
    if steps:
        docker.require_leave(host, steps)
        if os.geteuid() != 0:
            specification.as_root("nvidia", "ensure", environment)
        with files.lock(host.at("/run/lock/local-ai-lab-nvidia.lock"), what="the machine's NVIDIA layers"):
            for step in host.wanted.steps:
                _DO[step](host)
    _say({"runtime": host.wanted.runtime, "changed": host.changed, "warnings": _warnings(host)})


def status(environment: Mapping[str, str]) -> None:
    """Prints every layer, and what the lab made on this machine, as JSON; changes nothing."""
    host = _host(environment)
    layers = host.probe().layers()
    broken = any(layer.state == "fail" for layer in layers)
    _say(
        {
            "state": "broken" if broken else "incomplete" if needed(host) else "ready",
            "layers": [asdict(layer) for layer in layers],
            "needed": list(needed(host)),
            "made": host.record.read(),
        }
    )


def destroy(environment: Mapping[str, str]) -> None:
    """Changes nothing: other containers of the machine may have come to need these layers. Prints what the lab made,
    and how it is undone by hand.
    """
    made = _host(environment).record.read()
    undo = {step: text.format(backup=docker.BACKUP) for step, text in _UNDO.items() if step in made["steps"]}
    _say({"removed": [], "kept": made["files"], "undo": undo})


def would_stop(stack: str, wanted: NvidiaHostPlan) -> tuple[str, ...]:
    """The running containers that an `ensure` of this plan would stop now, by a restart of Docker; looks only. Where
    the machine cannot be set up at all there are none: `ensure` says why.
    """
    host = Host(stack, wanted, ThisMachine(ROOT), ROOT)
    try:
        return docker.would_stop(host, needed(host)) if host.probe().driver().state != "fail" else ()
    except HostError:
        return ()


def repair(stack: str, wanted: NvidiaHostPlan) -> list[str]:
    """Runs `ensure` where a layer was lost since, of which Pulumi's state knows nothing, such as another daemon.json or
    a new card; returns what was changed. Raises HostError.
    """
    if not needed(Host(stack, wanted, ThisMachine(ROOT), ROOT)):
        return []
    words = [sys.executable, "-m", "host", "nvidia", "ensure"]  # a process of its own, which may become root
    environment = {"LAB_STACK": stack, "LAB_SPEC": canonical(wanted), "PYTHONPATH": str(_PROJECT)}
    done = command.run(words, timeout=_REPAIR_SECONDS, environment=environment)
    changed: list[str] = json.loads(done.stdout.splitlines()[-1])["changed"]
    return changed


def needed(host: Host) -> tuple[NvidiaStep, ...]:
    """The steps of the plan that would change something now; looks only."""
    return tuple(step for step in host.wanted.steps if _NEEDED[step](host))


def _require_driver(host: Host) -> None:
    layer = host.probe().driver()
    if layer.state == "fail":
        raise HostError(f"{layer.cause} ({layer.evidence}): nothing was changed", remedy=layer.fix)


def _warnings(host: Host) -> list[str]:
    return [f"{layer.id}: {layer.cause}" for layer in host.probe().layers() if layer.state == "warn"]


def _host(environment: Mapping[str, str]) -> Host:
    stack, plan = specification.read(environment, NvidiaHostPlan, what="plan of NVIDIA's layers", part=".nvidia.host")
    return Host(stack, plan, ThisMachine(ROOT), ROOT)


def _say(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")


_NEEDED = {
    "toolkit": toolkit.needed,
    "docker": docker.needed,
    "cdi": devices.specification_needed,
    "device-links": devices.links_needed,
}
_DO = {
    "toolkit": toolkit.install,
    "docker": docker.configure,
    "cdi": devices.make_specification,
    "device-links": devices.make_links,
}
