"""`lab keys`: the clients of a stack's gateway. Changes one file, which Envoy reads again by itself."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from host.gateway import gateway_files, kubernetes
from stacks import names
from stacks.errors import LabError
from stacks.plan import KubernetesPlan


def run(root: Path, stack: str, action: str, name: str | None, *, as_json: bool) -> None:
    """Prints the clients, or a new key once. Raises LabError."""
    target = deployed(root, stack)
    target.gateway_access()
    keys = gateway_files.keys(target.stack)
    if action == "ls":
        _list(keys.names(), target.stack, as_json=as_json)
        return
    if name is None:
        raise LabError(f"{action} needs a name", remedy=f"./lab keys {stack} {action} my-laptop")
    if action == "revoke":
        keys.revoke(name)
        publish(target)
        if as_json:
            print_json({"stack": stack, "revoked": name})
        else:
            console().print(f"{name} is refused from now on", markup=False)
        return
    key = keys.add(name) if action == "add" else keys.rotate(name)
    publish(target)
    if as_json:
        print_json({"stack": stack, "client": name, "key": key})
        return
    sys.stdout.write(f"{key}\n")  # alone on standard output, for a pipe into a password manager
    console(stderr=True).print(f"the key of {name}; it is not shown again", markup=False, style="dim")


def publish(target: Deployed) -> None:
    """On a cluster the gateway reads a Secret, which follows the file. Raises HostError."""
    gateway, cluster = target.plan.gateway, target.plan.cluster
    if gateway and isinstance(cluster, KubernetesPlan):
        kubernetes.publish(
            kubernetes.Place(target.stack, cluster.kubeconfig, cluster.namespace, gateway.hosts, gateway.kind)
        )


def _list(found: list[str], stack: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"stack": stack, "clients": found})
        return
    for name in found:
        console().print(
            f"{name}{'   (the checks of the lab itself)' if name == names.OWN_CLIENT else ''}", markup=False
        )
