"""What the engine has of a stack, and in which state that is. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from host.drivers.docker import containers
from host.drivers.docker.spec import Spec
from probes.docker_api import DockerApi
from stacks import names

State = Literal["absent", "running", "stopped", "half-created", "drifted", "foreign"]
Thing = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What is there. Names of services, networks and volumes lead to what Docker says of them; what it does not have is
    None.

    `left_over`: ours, and in the compose file no more: containers and volumes by their names. `foreign`: in the way,
    and not made by this stack, in words that the engine's own command takes.
    """

    containers: Mapping[str, Thing | None]
    networks: Mapping[str, Thing | None]
    volumes: Mapping[str, Thing | None]
    images: Mapping[str, Thing | None]
    left_over: tuple[str, ...]
    left_volumes: tuple[str, ...]
    foreign: tuple[str, ...]

    def anything(self) -> bool:
        """Whether the engine has anything of the stack."""
        named = (self.containers, self.networks, self.volumes)
        return any(thing for things in named for thing in things.values()) or bool(self.left_over or self.left_volumes)


def look(api: DockerApi, spec: Spec) -> Found:
    """Asks the engine. Raises CheckFailed where it does not answer."""
    services = spec.document["services"]
    found = {name: api.container(service["container_name"]) for name, service in services.items()}
    networks = {n["name"]: api.document(f"/networks/{n['name']}") for n in spec.document["networks"].values()}
    volumes = {v["name"]: api.document(f"/volumes/{v['name']}") for v in spec.document["volumes"].values()}
    images = {image: api.document(f"/images/{image}/json") for image in sorted({s["image"] for s in services.values()})}
    own = {service["container_name"] for service in services.values()}
    return Found(
        containers={name: thing if thing and spec.is_ours(_labels(thing)) else None for name, thing in found.items()},
        networks={
            name: thing if thing and spec.is_ours(thing.get("Labels")) else None for name, thing in networks.items()
        },
        volumes={
            name: thing if thing and spec.is_ours(thing.get("Labels")) else None for name, thing in volumes.items()
        },
        images=images,
        left_over=tuple(name for name in our_containers(api, spec) if name not in own),
        left_volumes=tuple(name for name in our_volumes(api, spec) if name not in volumes),
        foreign=(
            *(
                f"container {services[n]['container_name']}"
                for n, t in found.items()
                if t and not spec.is_ours(_labels(t))
            ),
            *(f"network {name}" for name, thing in networks.items() if thing and not spec.is_ours(thing.get("Labels"))),
            *(f"volume {name}" for name, thing in volumes.items() if thing and not spec.is_ours(thing.get("Labels"))),
        ),
    )


def our_containers(api: DockerApi, spec: Spec) -> list[str]:
    """The names of all containers of the stack, running or not."""
    listed = api.document("/containers/json", all="true", filters=_marked(spec)) or []
    return sorted(thing["Names"][0].removeprefix("/") for thing in listed if spec.is_ours(thing.get("Labels")))


def our_volumes(api: DockerApi, spec: Spec) -> list[str]:
    """The names of all volumes of the stack."""
    listed = (api.document("/volumes", filters=_marked(spec)) or {}).get("Volumes") or []
    return sorted(thing["Name"] for thing in listed if spec.is_ours(thing.get("Labels")))


def our_networks(api: DockerApi, spec: Spec) -> list[str]:
    """The names of all networks of the stack."""
    listed = api.document("/networks", filters=_marked(spec)) or []
    return sorted(thing["Name"] for thing in listed if spec.is_ours(thing.get("Labels")))


def problems(spec: Spec, found: Found) -> dict[str, str]:
    """What is not as it should be, by the name of the service, network or volume; empty where all is as wished."""
    wrong: dict[str, str] = {}
    for name, thing in found.networks.items():
        if thing is None:
            wrong[f"network {name}"] = "is not there"
        elif differs := network_differences(name, spec, thing):
            wrong[f"network {name}"] = f"was changed: {', '.join(differs)}"
    wrong |= {f"volume {name}": "is not there" for name, thing in found.volumes.items() if thing is None}
    for name, container in found.containers.items():
        if container is None:
            wrong[name] = "has no container"
        elif differs := containers.differences(name, spec, container, found.images[_image(name, spec)]):
            wrong[name] = f"was changed: {', '.join(differs)}"
        elif not is_running(container):
            status = container["State"].get("Status", "")
            wrong[name] = "was made and never started" if status == "created" else f"does not run: {status}"
    wrong |= dict.fromkeys((*found.left_over, *found.left_volumes), "is left over")
    return wrong


def state(spec: Spec, found: Found) -> State:
    """One word for all of it; what is worst counts."""
    if found.foreign:
        return "foreign"
    if not found.anything():
        return "absent"
    wrong = problems(spec, found)
    if any(text.startswith(("was changed", "is left over")) for text in wrong.values()):
        return "drifted"
    if any(text.startswith(("is not there", "has no container", "was made")) for text in wrong.values()):
        return "half-created"
    return "stopped" if wrong else "running"


def network_differences(name: str, spec: Spec, thing: Thing) -> list[str]:
    """What of a network is not as the compose file says."""
    (wanted,) = [network for network in spec.document["networks"].values() if network["name"] == name]
    options = thing.get("Options") or {}
    wrong = [key for key, value in wanted["driver_opts"].items() if options.get(key) != value]
    return wrong + (["Driver"] if thing.get("Driver") != wanted["driver"] else [])


def is_running(container: Thing) -> bool:
    """Whether its process runs, or Docker is about to start it again."""
    found = container["State"]
    return found.get("Status") in ("running", "restarting") and not found.get("Paused")


def _image(name: str, spec: Spec) -> str:
    return str(spec.document["services"][name]["image"])


def _labels(container: Thing) -> Mapping[str, str] | None:
    return (container.get("Config") or {}).get("Labels")


def _marked(spec: Spec) -> str:
    return json.dumps({"label": [f"{names.STACK_LABEL}={spec.stack}"]})


def unhealthy(found: Sequence[Thing | None]) -> list[str]:
    """The names of containers whose health check fails."""
    return [
        str(thing["Name"]).removeprefix("/")
        for thing in found
        if thing and is_running(thing) and (thing["State"].get("Health") or {}).get("Status") == "unhealthy"
    ]
