"""Shows that NetworkPolicies hold: one connection that a policy forbids, and one that it allows.

Two throw-away network namespaces are wired to the cluster's bridge by the CNI plugin, as pods are, and the API server
is told of two pods with their addresses that are never scheduled. No image and no container is needed. The namespaces
end with us, however we end; addresses and objects that a killed run left are taken back by the next one.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host.drivers.embedded import api, configs, namespaces
from host.drivers.embedded.layout import Layout
from host.drivers.embedded.parts import Parts
from host.drivers.embedded.policies import OFF
from host.system import command
from stacks.errors import HostError

NAMESPACE = "local-ai-lab-policy-proof"
_LABEL = "local-ai-lab/proof"
_CLIENT, _SERVER = "client", "server"
_FORBIDDEN, _ALLOWED = 8080, 8081
_COMMAND_SECONDS = 20.0
# A policy acts within two seconds; a program that has just started reads what there is first.
_WAIT_SECONDS = 30.0
_END = Path(__file__).with_name("proof_end.py")
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
_POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"


def show(layout: Layout, parts: Parts) -> None:
    """Raises HostError where the forbidden connection passes or the allowed one does not."""
    _make_namespace(layout)
    _forget(layout)
    try:
        with _end(layout, parts, _SERVER) as (_, address), _end(layout, parts, _CLIENT) as (client, source):
            _tell(layout, _SERVER, address)
            _tell(layout, _CLIENT, source)
            # Both pass first: what is refused afterwards is refused by the policy, and not by a broken bridge.
            before = _await(client, address, forbidden=True)
            if not all(before.values()):
                raise HostError(
                    "pods cannot reach each other although no NetworkPolicy forbids it: kube-network-policies or the "
                    f"bridge refuses too much (logs: {layout.state / 'logs' / 'kube-network-policies.log'})",
                    remedy=f"run it again; if it stays: {OFF}",
                )
            api.apply(layout, _POLICIES, _policy())
            after = _await(client, address, forbidden=False)
            if after[_FORBIDDEN]:
                raise HostError(
                    "NetworkPolicies do not hold: a connection that one forbids was let through "
                    f"(logs: {layout.state / 'logs' / 'kube-network-policies.log'})",
                    remedy=f"run it again; if it stays: {OFF}",
                )
            if not after[_ALLOWED]:
                raise HostError(
                    "NetworkPolicies refuse what they allow: a connection that one allows was dropped",
                    remedy=f"run it again; if it stays: {OFF}",
                )
    finally:
        with contextlib.suppress(HostError):  # the first error is the one to be read
            _forget(layout)


def remove(layout: Layout) -> None:
    """Removes the namespace, if it is there."""
    with contextlib.suppress(api.ApiError):
        api.request(layout, "DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def _await(client: int, address: str, *, forbidden: bool) -> dict[int, bool]:
    """Asks until the allowed port answers and the other one does as `forbidden` says; the last answers."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        words: list[str | Path] = [
            "nsenter", f"--net=/proc/{client}/ns/net", "--", sys.executable, "-I", _END, "ask", address,
            str(_FORBIDDEN), str(_ALLOWED),
        ]  # fmt: skip
        answers = json.loads(command.run(words, timeout=_COMMAND_SECONDS).stdout)
        found = {int(port): bool(answer) for port, answer in answers.items()}
        if found == {_FORBIDDEN: forbidden, _ALLOWED: True} or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@contextlib.contextmanager
def _end(layout: Layout, parts: Parts, role: str) -> Iterator[tuple[int, str]]:
    """A namespace on the cluster's bridge: the process that holds it, and its address."""
    words: list[str | Path] = ["unshare", "--net", sys.executable, "-I", _END, "hold", str(_FORBIDDEN), str(_ALLOWED)]
    with command.piped(words) as said:
        pid = int(said.readline())
        _cni(layout, parts, "DEL", role, pid)  # what a killed run left
        result = json.loads(_cni(layout, parts, "ADD", role, pid))
        try:
            yield pid, str(result["ips"][0]["address"]).partition("/")[0]
        finally:
            _cni(layout, parts, "DEL", role, pid)


def _cni(layout: Layout, parts: Parts, verb: str, role: str, pid: int) -> str:
    """One call of the bridge plugin, with what containerd would give it."""
    network = json.loads(configs.cni(layout))
    own = {"cniVersion": network["cniVersion"], "name": network["name"], **network["plugins"][0]}
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"{NAMESPACE}-{role}",
        "CNI_NETNS": f"/proc/{pid}/ns/net",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(parts.cni_plugins),
    }
    words = [*namespaces.enter(layout), parts.cni_plugins / own["type"]]
    return command.run(
        words, timeout=_COMMAND_SECONDS, environment={**parts.environment(), **environment}, text=json.dumps(own)
    ).stdout


def _make_namespace(layout: Layout) -> None:
    """The namespace of the two pods stays: its end would take longer than all of this."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        found = api.find(layout, _CORE)
        if not found:
            api.apply(layout, "/api/v1/namespaces", document)
        # one with that stamp goes, since the policies were switched off
        elif "deletionTimestamp" not in found["metadata"] and api.find(layout, f"{_CORE}/serviceaccounts/default"):
            return
        time.sleep(0.1)
    raise HostError(
        f"the namespace {NAMESPACE} has no service account after {_WAIT_SECONDS:.0f} s",
        remedy=f"run it again; if it stays: kubectl delete namespace {NAMESPACE}",
    )


def _tell(layout: Layout, role: str, address: str) -> None:
    """Tells the API server of a pod with this address, which no scheduler takes."""
    hardened = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    own = {"name": role, "namespace": NAMESPACE}
    kind = {"apiVersion": "v1", "kind": "Pod"}
    api.apply(layout, f"{_CORE}/pods", {
        **kind, "metadata": {**own, "labels": {_LABEL: role}},
        "spec": {
            "schedulingGates": [{"name": f"{_LABEL}-only"}], "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65535, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": role, "image": "lab.local/none", "securityContext": hardened}],
        },
    })  # fmt: skip
    status = {**kind, "metadata": own, "status": {"podIP": address, "podIPs": [{"ip": address}]}}
    api.request(layout, "PATCH", f"{_CORE}/pods/{role}/status?fieldManager=local-ai-lab&force=true", status)


def _policy() -> dict[str, Any]:
    allowed = {
        "from": [{"podSelector": {"matchLabels": {_LABEL: _CLIENT}}}],
        "ports": [{"port": _ALLOWED, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "proof", "namespace": NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": {_LABEL: _SERVER}}, "policyTypes": ["Ingress"], "ingress": [allowed],
        },
    }  # fmt: skip


def _forget(layout: Layout) -> None:
    """Removes the pods and the policy, at once."""
    for path in (_POLICIES, f"{_CORE}/pods"):
        api.request(layout, "DELETE", path, {"gracePeriodSeconds": 0})
