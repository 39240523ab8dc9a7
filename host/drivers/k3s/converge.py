"""Brings K3s from whatever state it is in to the one that its plan says."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from host.drivers import kubeconfig, ownership
from host.drivers.epoch import cluster_uid, recorded_uid, replaced
from host.drivers.k3s import decide, teardown
from host.drivers.k3s.alive import ready
from host.drivers.k3s.decide import Step
from host.drivers.k3s.machine import BINARY, CONFIG, KUBECONFIG, UNIT, UNIT_TEXT, Machine
from host.drivers.k3s.observe import look
from host.drivers.ownership import Mark
from host.system import command, state
from host.system.progress import step
from probes.kubernetes_api import KubernetesApi
from stacks.errors import CheckFailed, HostError

_SYSTEMCTL: Final = 120.0
_READY_SECONDS: Final = 600.0  # a first start unpacks K3s' own images, and pulls CoreDNS
_SAY_SECONDS: Final = 15.0
_API_SECONDS: Final = 5.0
_SAID = {
    "remove": "removed what a removal had left",
    "binary": f"wrote {BINARY}",
    "config": f"wrote {CONFIG}",
    "unit": f"wrote {UNIT}",
    "enable": "enabled the service k3s",
    "start": "started k3s",
    "restart": "restarted k3s",
}


def run(machine: Machine, program: Path, epoch: int) -> None:
    """Does all of it; `program` is the planned release. Raises HostError, and leaves what it made for the next run."""
    seen = look(machine, program)
    if found := decide.refusal(seen, machine):
        raise HostError(f"{found.reason}: nothing was changed", remedy=found.remedy)
    wanted = decide.steps(seen, machine)
    if seen.mark is None:
        machine.mark(Mark(machine.ours))
    elif wanted and not seen.mark.removing:  # a run that is killed from here on is followed by a restart
        machine.mark(replace(seen.mark, identity=""))
    for name in wanted:
        with step(f"K3s {machine.plan.kubernetes}: {name}"):
            _take(machine, program, name)
        machine.changes.append(_SAID[name])
    with step(f"waiting for node {machine.plan.node}"):
        api = _await_node(machine)
    if look(machine, program).nvidia is not True:
        raise HostError(
            "K3s started without NVIDIA's runtime in its containerd configuration",
            remedy=f"./lab doctor {machine.stack} shows the layer; sudo journalctl -u k3s says more",
        )
    _finish(machine, api, epoch)


def _take(machine: Machine, program: Path, name: Step) -> None:
    if name == "remove":
        teardown.remove(machine)
        machine.mark(Mark(machine.ours))
    elif name == "binary":
        machine.write(BINARY, program.read_bytes(), 0o755)
    elif name == "config":
        machine.write(CONFIG, machine.plan.config.encode(), 0o600)
    elif name == "unit":
        machine.write(UNIT, UNIT_TEXT.encode(), 0o644)
    elif name == "enable":
        _systemctl("daemon-reload")
        _systemctl("enable", "k3s")
    else:  # it is waited for by its node, with progress: systemctl itself would wait without an end
        _systemctl(name, "--no-block", "k3s")


def _await_node(machine: Machine) -> KubernetesApi:
    begin = said = time.monotonic()
    while True:
        try:
            api = KubernetesApi.from_kubeconfig(str(machine.at(KUBECONFIG)), stack=machine.stack, timeout=_API_SECONDS)
            if ready(api, machine.plan.node):
                return api
        except CheckFailed:
            pass  # the kubeconfig is not written yet
        now = time.monotonic()
        if now - begin > _READY_SECONDS:
            raise HostError(
                f"node {machine.plan.node} is not ready after {_READY_SECONDS:.0f} s",
                remedy=f"sudo journalctl -u k3s -n 50 says why; ./lab up {machine.stack} goes on",
            )
        if now - said > _SAY_SECONDS:
            said = now
            sys.stderr.write(f"  not ready after {now - begin:.0f} s\n")
        time.sleep(0.5)


def _finish(machine: Machine, api: KubernetesApi, epoch: int) -> None:
    """The kubeconfig, both marks and the record, for a K3s that runs as planned."""
    if ownership.mark_inside(api, machine.ours):
        machine.changes.append("marked the cluster as this stack's")
    if kubeconfig.write(machine.kubeconfig, kubeconfig.single(machine.at(KUBECONFIG), name=machine.plan.name)):
        machine.changes.append("wrote the kubeconfig")
    machine.mark(Mark(machine.ours, complete=True, identity=machine.identity()))
    uid, recorded = cluster_uid(machine.stack), recorded_uid(machine.stack)
    if uid is None:
        raise HostError("K3s' API server went away", remedy=f"./lab up {machine.stack} goes on")
    if recorded and uid != recorded:  # a healthy empty cluster where a full one was must not look like success
        raise replaced(machine.stack)
    state.record(machine.stack, epoch, uid)


def _systemctl(*words: str) -> None:
    command.run(["systemctl", *words], timeout=_SYSTEMCTL)
