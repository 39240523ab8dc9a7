"""`python -m probes <probe>`: looks at a running stack and changes nothing.

Its words stand in the Pulumi state of deployed stacks. The specification comes in the environment.

inference_check: LAB_STACK, LAB_KUBECONFIG and LAB_NAMESPACE of a cluster (and LAB_FORWARD=1 where it publishes nothing)
or LAB_PROJECT of plain Docker (and LAB_GATEWAY, the folder of its front gateway), LAB_TARGETS (JSON: [{"model": ...,
"endpoint": ..., "task": ..., "adapters": [...]}]; no task: chat), LAB_API_KEY.
allocatable_gpus: LAB_STACK, LAB_KUBECONFIG, LAB_NAMESPACE, LAB_GPUS (how many the stack's pods ask for).
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

from probes import gpus
from probes.gateway import GatewayAccess
from probes.hops import Walk, table
from probes.inference_check import check, check_in_docker
from probes.kubernetes_api import KubernetesApi
from stacks.errors import CheckFailed

PROBES = ("inference_check", "allocatable_gpus")
_ON_CLUSTER = ("LAB_KUBECONFIG", "LAB_NAMESPACE")


def main(arguments: list[str]) -> int:
    """Runs one probe. Returns the exit code: 0 healthy, 1 broken, 2 wrong usage."""
    told = _told(arguments[0]) if len(arguments) == 1 and arguments[0] in PROBES else ()
    if not told or not all(os.environ.get(name) for name in told):
        sys.stderr.write(
            "usage: LAB_KUBECONFIG=... LAB_NAMESPACE=... LAB_TARGETS=... python -m probes inference_check\n"
            "       (plain Docker: LAB_PROJECT=... in place of LAB_KUBECONFIG and LAB_NAMESPACE)\n"
            "       LAB_KUBECONFIG=... LAB_NAMESPACE=... LAB_GPUS=... python -m probes allocatable_gpus\n"
        )
        return 2
    return _check() if arguments == ["inference_check"] else _gpus()


def _told(probe: str) -> tuple[str, ...]:
    """What the probe needs in the environment."""
    if probe == "allocatable_gpus":
        return (*_ON_CLUSTER, "LAB_GPUS")
    return (*(("LAB_PROJECT",) if os.environ.get("LAB_PROJECT") else _ON_CLUSTER), "LAB_TARGETS")


def _gpus() -> int:
    """Whether the nodes offer what the pods will ask for: one that finds none waits for as long as a start may take."""
    told, stack = os.environ, os.environ.get("LAB_STACK", "STACK")
    try:
        api = KubernetesApi.from_kubeconfig(told["LAB_KUBECONFIG"], stack=stack)
        found = gpus.wait(api, told["LAB_NAMESPACE"], int(told["LAB_GPUS"]), _say, stack=stack)
    except CheckFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    _say(f"{found.offered} nvidia.com/gpu")
    return 0


def _check() -> int:
    walks = [
        _walk(told["model"], told["endpoint"], told.get("task", "chat"), told.get("adapters", []))
        for told in json.loads(os.environ["LAB_TARGETS"])
    ]
    for walk in walks:
        sys.stdout.write(table(walk) + "\n")
    for walk in walks:
        if walk.failure:
            sys.stderr.write(f"{walk.failure}\n")
    return 0 if all(walk.ok for walk in walks) else 1


def _walk(model: str, endpoint: str, task: str, adapters: list[str]) -> Walk:
    told, key, stack = os.environ, os.environ.get("LAB_API_KEY"), os.environ.get("LAB_STACK", "STACK")
    folder = told.get("LAB_GATEWAY")
    gateway = GatewayAccess(Path(folder).expanduser(), stack) if folder else None
    if project := told.get("LAB_PROJECT"):
        ask = partial(check_in_docker, project)
    else:
        forward = told.get("LAB_FORWARD") == "1"
        ask = partial(check, told["LAB_KUBECONFIG"], namespace=told["LAB_NAMESPACE"], forward=forward)
    return ask(model, endpoint, api_key=key, stack=stack, task=task, adapters=adapters, wait=_say, gateway=gateway)


def _say(said: str) -> None:
    print(said, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
