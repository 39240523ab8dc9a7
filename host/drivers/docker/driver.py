"""`ensure`, `status` and `destroy` of a stack's containers: what `python -m host docker` calls."""

from __future__ import annotations

import calendar
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from host.drivers.docker import converge, observe, spec
from host.drivers.docker.spec import Spec
from host.gateway import gateway_files
from host.system import files, state
from host.system.progress import step
from probes.docker_api import DockerApi
from stacks.errors import HostError, LabError
from stacks.plan import DockerPlan

_ALIVE_SECONDS = 2.0


def ensure(environment: Mapping[str, str]) -> None:
    """The containers of LAB_SPEC are there and run afterwards; prints one JSON line of what was changed. Raises
    HostError, and CheckFailed where Docker does not answer.
    """
    wanted = spec.read(environment)
    if wanted.document.get("x-gateway"):
        wanted = replace(wanted, api_key=gateway_files.engine_key(wanted.stack))
    if wanted.document.get("x-api-key") and wanted.api_key is None:
        raise HostError("LAB_API_KEY is not set", remedy="`lab up` and `pulumi up` set it from the secret apiKey")
    api = DockerApi.connect()
    engine = _require(api, wanted)
    with files.lock(_lock(wanted), what=f"the containers of {wanted.stack}"):
        converging = converge.Converging(api, wanted)
        converging.run()
        state.record(wanted.stack, int(environment.get("LAB_EPOCH", "0")), str(engine.get("ID", "docker")))
    _say(
        {"project": wanted.project, "compose": str(_folder(wanted) / spec.COMPOSE_FILE), "changed": converging.changes}
    )


def prepare(stack: str, plan: DockerPlan) -> list[Callable[[], object]]:  # noqa: ARG001
    """Nothing is to be made beside images and weights. Raises CheckFailed where Docker does not answer."""
    DockerApi.connect()
    return []


def stands(stack: str) -> bool:
    """Whether containers of the stack were begun on this machine."""
    return (state.folder(stack) / spec.COMPOSE_FILE).exists()


def status(environment: Mapping[str, str]) -> None:
    """Prints what runs, since when and what is wrong, as JSON; changes nothing."""
    wanted = spec.read(environment)
    api = DockerApi.connect()
    found = observe.look(api, wanted)
    summary = observe.state(wanted, found)
    wrong = {} if summary == "absent" else observe.problems(wanted, found)
    if found.foreign:
        wrong |= dict.fromkeys(found.foreign, "was not made by this stack")
    wrong |= dict.fromkeys(observe.unhealthy(list(found.containers.values())), "its health check fails")
    _say(
        {
            "cluster": wanted.project,
            "state": "degraded" if summary == "running" and wrong else summary,
            "problems": wrong,
            "programs": {name: _program(container) for name, container in found.containers.items()},
            "epoch": state.epoch(wanted.stack),
            "compose": str(_folder(wanted) / spec.COMPOSE_FILE),
        }
    )


def destroy(environment: Mapping[str, str]) -> None:
    """Nothing of the stack is in Docker afterwards, but images that others need; weights stay. Raises HostError."""
    wanted = spec.read(environment)
    api = DockerApi.connect()
    with files.lock(_lock(wanted), what=f"the containers of {wanted.stack}"), step(f"removing {wanted.project}"):
        gone = converge.remove_all(api, wanted)
        spec.remove(wanted.stack)
        if state.folder(wanted.stack).joinpath("cluster.json").exists():
            state.record(wanted.stack, state.epoch(wanted.stack), "")
    _say({"project": wanted.project, "removed": gone})


def is_alive(stack: str) -> bool:
    """Whether the stack's containers are what was made last, and run. Looks for two seconds at most."""
    wanted = spec.written(stack)
    if wanted is None:
        return False
    try:
        found = observe.look(DockerApi.connect(timeout=_ALIVE_SECONDS), wanted)
        hangs = observe.unhealthy(list(found.containers.values()))
        return observe.state(wanted, found) == "running" and not hangs
    except LabError:
        return False


def _require(api: DockerApi, wanted: Spec) -> dict[str, Any]:
    """What the engine says of itself. Raises HostError where it cannot carry the stack."""
    info: dict[str, Any] = api.document("/info") or {}
    if info.get("OSType") != "linux":
        raise HostError(
            f"Docker runs {info.get('OSType', 'unknown')} containers, and engines need linux ones",
            remedy="in Docker Desktop: switch to Linux containers",
        )
    rootless = any("name=rootless" in str(option) for option in info.get("SecurityOptions") or ())
    if rootless and wanted.document.get("x-gateway"):
        raise HostError(
            "Docker runs rootless: it maps users, so that the gateway's container cannot read its keys, which are "
            "their owner's alone",
            remedy="docker context use default (the system's Docker), or write gateway: {kind: none} into "
            f"Pulumi.{wanted.stack}.yaml",
        )
    if info.get("MemoryLimit") is False:
        sys.stderr.write("! this Docker enforces no memory limits: an engine may take all of the machine's RAM\n")
    return info


def _program(container: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if container is None or not container["State"].get("Running"):
        return None
    began = time.strptime(container["State"]["StartedAt"][:19], "%Y-%m-%dT%H:%M:%S")  # always UTC
    health = (container["State"].get("Health") or {}).get("Status", "none")
    seconds = max(0, int(time.time() - calendar.timegm(began)))
    return {"pid": container["State"].get("Pid"), "seconds": seconds, "health": health}


def _folder(wanted: Spec) -> Path:
    return state.folder(wanted.stack)


def _lock(wanted: Spec) -> Path:
    return _folder(wanted) / "docker.lock"


def _say(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
