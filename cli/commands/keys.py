"""`lab keys`: the clients of a stack's gateway. Changes one file, which Envoy reads again by itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.deployed import Deployed, deployed
from cli.output import console, print_json
from host.gateway import gateway_files, kubernetes
from stacks import names
from stacks.errors import LabError
from stacks.plan import KubernetesPlan


def run(root: Path, stack: str, action: str, name: str | None, *, models: Sequence[str] = (), as_json: bool) -> None:
    """Prints the clients, or a new key once; `models` are what a new one may ask, all where it is empty. Raises
    LabError.
    """
    target = deployed(root, stack)
    target.gateway_access()
    keys = gateway_files.keys(target.stack)
    if action == "ls":
        _list({client: keys.models(client) for client in keys.names()}, target.stack, as_json=as_json)
        return
    if name is None:
        raise LabError(f"{action} needs a name", remedy=f"./lab keys {stack} {action} my-laptop")
    if models:
        _check_models(target, action, models)
    if action == "revoke":
        keys.revoke(name)
        publish(target)
        if as_json:
            print_json({"stack": stack, "revoked": name})
        else:
            console().print(f"{name} is refused from now on", markup=False)
        return
    key = keys.add(name, models) if action == "add" else keys.rotate(name)
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


def _check_models(target: Deployed, action: str, models: Sequence[str]) -> None:
    """Raises LabError where a key cannot be kept to these models."""
    gateway = target.plan.gateway
    if action != "add":
        raise LabError(
            f"--model is for new keys; {action} leaves what a key may ask",
            remedy=f"./lab keys {target.stack} revoke NAME, then add it again with --model",
        )
    if gateway is None or gateway.kind != "envoy":
        raise LabError("only a gateway of kind envoy keeps keys to models", remedy="leave out --model: for all models")
    unknown = [model for model in models if model not in gateway.names]
    if unknown:
        raise LabError(
            f"{', '.join(unknown)}: not a model, adapter or alias of this stack",
            remedy=f"write one of: {', '.join(gateway.names)}",
        )


def _list(found: Mapping[str, tuple[str, ...]], stack: str, *, as_json: bool) -> None:
    if as_json:
        narrow = {name: list(models) for name, models in found.items() if models}
        print_json({"stack": stack, "clients": list(found), **({"models": narrow} if narrow else {})})
        return
    for name, models in found.items():
        note = "the checks of the lab itself" if name == names.OWN_CLIENT else f"only {', '.join(models)}"
        told = f"   ({note})" if models or name == names.OWN_CLIENT else ""
        console().print(f"{name}{told}", markup=False)
