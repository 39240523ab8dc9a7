"""Ports of the machine that the stack publishes, and who has them."""

from __future__ import annotations

import re

from probes.doctor.subject import Subject, fail, ok, skipped
from probes.nvidia import Layer

_K3S_PORTS = {6443: "K3s' API server", 10250: "the kubelet"}


def ports(subject: Subject) -> Layer:
    """Free, or the stack's own."""
    plan = subject.plan
    if plan is None:
        return skipped("ports", "no stack was named")
    wanted = {model.port: f"endpoint of {model.name}" for model in plan.models}
    if subject.driver == "k3s":
        wanted |= _K3S_PORTS
    ran = subject.machine.run(["ss", "-ltnpH"])
    if not ran.ok:
        return skipped("ports", "ss says nothing")
    taken = _taken(ran.output)
    evidence = ", ".join(f"{port} {f'taken by {taken[port]}' if port in taken else 'free'}" for port in sorted(wanted))
    found = sorted(set(wanted) & set(taken))
    if not found:
        return ok("ports", evidence)
    if subject.serving or _is_ours(subject, [taken[port] for port in found]):
        return ok("ports", f"{evidence}: the stack's own")
    port = found[0]
    free = next((n for n in range(30080, 30096) if n not in taken and n not in wanted), None)
    edit = f", or write port: {free} into Pulumi.{plan.stack}.yaml" if free and port not in _K3S_PORTS else ""
    cause = f"{wanted[port]} needs port {port}, and another program has it"
    return fail("ports", evidence, cause, f"sudo ss -ltnp sport = :{port} shows it: end it{edit}")


def _taken(text: str) -> dict[int, str]:
    """Port -> program, as `ss -ltnpH` prints them; the program of another user shows for root only."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 4 and (port := fields[3].rpartition(":")[2]).isdigit():
            name = re.search(r'users:\(\("([^"]+)"', line)
            found.setdefault(int(port), name[1] if name else "another user's program")
    return found


def _is_ours(subject: Subject, programs: list[str]) -> bool:
    """Whether what has the ports is what the stack's driver publishes them with, and its cluster answers."""
    return subject.answering is not None and set(programs) <= {"docker-proxy", "k3s-server", "another user's program"}
