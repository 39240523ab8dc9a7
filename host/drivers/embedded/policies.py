"""The rules by which NetworkPolicies hold: the first packet of each connection of a pod goes to kube-network-policies,
and where nobody reads its queue the kernel drops it.

kube-network-policies has rules of its own, in nftables. They need NFT_QUEUE, which not every kernel has; without it the
program says so in a line of its log and lets everything pass. They also come with the program, and after the first pod.
So ours stand in their place on every kernel, and its own are refused on all of them (go/kube-network-policies/main.go).
All of it lies in the cluster's network namespace.
"""

from __future__ import annotations

from pathlib import Path

from host.drivers.embedded.layout import Layout
from host.drivers.embedded.parts import Parts
from host.drivers.embedded.programs import QUEUE
from host.system import command
from stacks.errors import HostError

_SECONDS = 20.0
_ALL, _OUT = "LAB-POLICY", "LAB-POLICY-OUT"
OFF = "write cluster.networkPolicies: stored in the stack file"
# Frames between pods of one bridge pass by these tables only with the settings on, which are the namespace's own.
_BRIDGE = "/proc/sys/net/bridge/bridge-nf-call-"


def rules(layout: Layout, *, version: int) -> list[str]:
    """What stands in the table mangle, in the words of `iptables -S`, for IP version 4 or 6.

    Replies pass, and what root sends on the node: kubelet's probes, the API server's calls. The cluster has no IPv6
    addresses, so that pods could only meet on link-local ones, which no policy names.
    """
    if version == 6:
        return [f"-A FORWARD -j {_ALL}", f"-A {_ALL} -j DROP"]
    return [
        # to the node itself: the API server too, with its Service's address replaced already
        f"-A INPUT -s {layout.pods} -j {_ALL}",
        f"-A POSTROUTING -j {_OUT}",
        f"-A {_ALL} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
        f"-A {_ALL} -s {layout.pods} -j NFQUEUE --queue-num {QUEUE}",
        f"-A {_ALL} -d {layout.pods} -j NFQUEUE --queue-num {QUEUE}",
        f"-A {_OUT} -m owner --uid-owner 0 -j RETURN",
        f"-A {_OUT} -j {_ALL}",
    ]


def problem(layout: Layout, parts: Parts) -> str:
    """What is wrong with the rules, or the empty text; changes nothing."""
    for version in _versions():
        if _found(layout, parts, version) != sorted(rules(layout, version=version)):
            return f"the rules for IPv{version} are not as they should be: policies do not hold"
        if _inside(layout, "cat", _setting(version)).strip() != "1":
            return f"bridged IPv{version} passes by the rules: policies do not hold between pods"
    return ""


def apply(layout: Layout, parts: Parts) -> bool:
    """Puts the rules in place, each table at once; returns whether anything was changed. Raises HostError."""
    if not problem(layout, parts):
        return False
    for version in _versions():
        _inside(layout, "sh", "-c", f"echo 1 > {_setting(version)}")
        wanted, found = rules(layout, version=version), _found(layout, parts, version)
        # Naming a chain empties it; what jumps there stays, so that only missing jumps are added.
        lines = [rule for rule in wanted if rule.startswith(f"-A {_ALL}") or rule not in found]
        surplus = [f"-D{rule[2:]}" for rule in found if not rule.startswith(f"-A {_ALL}") and rule not in wanted]
        _restore(layout, parts, version, [*(f":{chain} - [0:0]" for chain in (_ALL, _OUT)), *surplus, *lines])
    return True


def remove(layout: Layout, parts: Parts) -> bool:
    """Takes the rules away; returns whether there were any."""
    removed = False
    for version in _versions():
        found = _found(layout, parts, version)
        if not found:
            continue
        jumps = [f"-D{rule[2:]}" for rule in found if not rule.startswith(f"-A {_ALL}")]
        chains = [f":{chain} - [0:0]" for chain in (_ALL, _OUT)]
        _restore(layout, parts, version, [*chains, *jumps, f"-X {_OUT}", f"-X {_ALL}"])
        removed = True
    return removed


def _versions() -> tuple[int, ...]:
    return (4, 6) if Path(_setting(6)).exists() else (4,)


def _setting(version: int) -> str:
    return _BRIDGE + ("iptables" if version == 4 else "ip6tables")


def _found(layout: Layout, parts: Parts, version: int) -> list[str]:
    """Our rules that stand, sorted."""
    said = _inside(layout, _program(parts, version, "iptables"), "-w", "5", "-t", "mangle", "-S", parts=parts)
    return sorted(line for line in said.splitlines() if line.startswith("-A ") and _ALL in line)


def _restore(layout: Layout, parts: Parts, version: int, lines: list[str]) -> None:
    text = "\n".join(["*mangle", *lines, "COMMIT", ""])
    program = _program(parts, version, "iptables-restore")
    try:
        _inside(layout, program, "-w", "5", "--noflush", parts=parts, text=text)
    except command.CommandFailed as error:
        raise HostError(
            f"this kernel cannot hand packets to kube-network-policies: {error.message}",
            remedy=f"sudo modprobe -a nfnetlink_queue xt_NFQUEUE xt_owner xt_conntrack, then the same again; or {OFF}",
        ) from None


def _program(parts: Parts, version: int, name: str) -> str:
    name = name if version == 4 else name.replace("ip", "ip6", 1)
    if not (found := parts.find(name)):
        raise HostError(f"{name} is not there", remedy=f"install the package iptables; or {OFF}")
    return found


def _inside(layout: Layout, *words: str, parts: Parts | None = None, text: str | None = None) -> str:
    enter = ["nsenter", f"--net={layout.network_namespace}", "--"]
    environment = parts.environment() if parts else {}
    return command.run([*enter, *words], timeout=_SECONDS, environment=environment, text=text).stdout
