"""From whatever is there to what the compose file says, and to nothing. Every step looks first, so that a killed run is
gone on with by the next one.
"""

from __future__ import annotations

import time
from typing import Any

import httpx

from host.drivers.docker import containers, images, observe, spec
from host.drivers.docker.observe import Found, Thing
from host.drivers.docker.spec import Spec
from host.gateway import gateway_files
from host.system.progress import step
from probes.diagnosis import docker_problem
from probes.docker_api import DockerApi, said
from stacks.errors import HostError

_STOP_SECONDS = 300.0
_POLL_SECONDS = 1.0


class Converging:
    """One run of `ensure` on one stack; `changes` says what it did."""

    def __init__(self, api: DockerApi, wanted: Spec) -> None:
        self.api, self.spec = api, wanted
        self.changes: list[str] = []

    def run(self) -> None:
        """Raises HostError where something of another owner is in the way, before anything is changed, and where Docker
        refuses.
        """
        found = observe.look(self.api, self.spec)
        refuse_foreign(self.spec, found)
        if spec.write(self.spec):
            self.changes.append("wrote the compose file")
        if gateway := self.spec.document.get("x-gateway"):
            made = gateway_files.ensure(self.spec.stack, gateway["bootstrap"], gateway["hosts"])
            self.changes += [f"made {what} of the gateway" for what in made]
        self._images(found)
        self._left_over(found)
        self._networks(found)
        for name, volume in found.volumes.items():
            if volume is None:
                self._post("/volumes/create", {"Name": name, "Driver": "local", "Labels": self.spec.labels})
                self.changes.append(f"made volume {name}")
        found = observe.look(self.api, self.spec)
        for name in self.spec.services:
            self._after_others(name)
            self._service(name, found)

    def _images(self, found: Found) -> None:
        services = self.spec.document["services"].values()
        for image, policy in {service["image"]: service["pull_policy"] for service in services}.items():
            if images.ensure(self.api, image, policy, found.images[image]):
                self.changes.append(f"got image {image}")

    def _left_over(self, found: Found) -> None:
        for name in found.left_over:
            self._remove(name)
        for name in found.left_volumes:
            self._delete(f"/volumes/{name}")
            self.changes.append(f"removed volume {name}")

    def _networks(self, found: Found) -> None:
        for name, network in found.networks.items():
            if network is not None and not observe.network_differences(name, self.spec, network):
                continue
            # a container stays on the network that it was made for, by its id: all of that network are made anew
            for container in observe.our_containers(self.api, self.spec):
                if self._joins(container, name):
                    self._remove(container)
            if network is not None:
                self._delete(f"/networks/{name}")
                self.changes.append(f"removed network {name}, which was changed")
            (wanted,) = [n for n in self.spec.document["networks"].values() if n["name"] == name]
            self._post(
                "/networks/create",
                {
                    "Name": name,
                    "CheckDuplicate": True,  # an engine of 1.41 would make a second one of that name
                    "Driver": wanted["driver"],
                    "Options": wanted["driver_opts"],
                    "Labels": self.spec.labels,
                },
            )
            self.changes.append(f"made network {name}")

    def _joins(self, container: str, network: str) -> bool:
        """Whether a container is on a network, or is to be."""
        there = (self.api.container(container) or {}).get("NetworkSettings") or {}
        services = [s for s in self.spec.document["services"].values() if s["container_name"] == container]
        wanted = [name for service in services for name in containers.networks(service, self.spec)]
        return network in wanted or network in (there.get("Networks") or {})

    def _service(self, name: str, found: Found) -> None:
        service = self.spec.document["services"][name]
        container, there = service["container_name"], found.containers[name]
        if there is not None:
            differs = containers.differences(name, self.spec, there, found.images[service["image"]])
            if not differs and observe.is_running(there):
                if observe.unhealthy([there]):
                    self._restart(container, there)
                return
            if differs:
                self._remove(container)
                there = None
        if there is None:
            self._post("/containers/create", containers.body(name, self.spec), name=container)
            for network in containers.networks(service, self.spec)[1:]:  # API 1.41 takes one at creation
                self._post(
                    f"/networks/{network}/connect", {"Container": container, "EndpointConfig": {"Aliases": [name]}}
                )
            self.changes.append(f"made container {container}")
        elif there["State"].get("Paused"):
            self._post(f"/containers/{container}/unpause")
            self.changes.append(f"went on with {container}, which was paused")
        self._start(container)

    def _restart(self, container: str, there: Thing) -> None:
        """For an engine that hangs: Docker itself starts again only what has ended."""
        grace = float(there["Config"].get("StopTimeout") or 10)
        with step(f"restarting {container}, whose health check fails"):
            answer = self.api.request("POST", f"/containers/{container}/restart", timeout=grace + _STOP_SECONDS)
        if answer.is_error:
            raise refused(f"restarting {container}", answer)
        self.changes.append(f"restarted {container}")

    def _start(self, container: str) -> None:
        answer = self.api.request("POST", f"/containers/{container}/start", timeout=_STOP_SECONDS)
        if answer.status_code not in (httpx.codes.NO_CONTENT, httpx.codes.NOT_MODIFIED):
            text = said(answer)
            problem = docker_problem(text)
            remedy = problem.filled(stack=self.spec.stack, container=container).remedy if problem else ""
            what = f"{problem.what}: " if problem else ""
            raise HostError(f"{container} cannot be started: {what}{text}", remedy=remedy)
        if answer.status_code == httpx.codes.NO_CONTENT:
            self.changes.append(f"started {container}")

    def _after_others(self, name: str) -> None:
        """Engines of one card start one after another: waits until those that come first serve."""
        for other in self.spec.document["services"][name].get("depends_on", {}):
            service = self.spec.document["services"][other]
            container, limit = service["container_name"], containers.seconds(service["healthcheck"]["start_period"])
            end = time.monotonic() + limit
            with step(f"waiting for {container}, which starts first on its card"):
                while (health := self._health(container)) != "healthy":
                    if health in ("unhealthy", "exited", "gone") or time.monotonic() > end:
                        raise HostError(
                            f"{container} is {health}: {name} starts after it on the same card",
                            remedy=f"./lab check {self.spec.stack}",
                        )
                    time.sleep(_POLL_SECONDS)

    def _health(self, container: str) -> str:
        found = self.api.container(container)
        if found is None:
            return "gone"
        if found["State"].get("Status") not in ("running", "restarting"):
            return "exited"
        return str((found["State"].get("Health") or {}).get("Status", "starting"))

    def _remove(self, container: str) -> None:
        remove_container(self.api, container, self.spec)
        self.changes.append(f"removed container {container}")

    def _post(self, path: str, body: Any = None, **parameters: str) -> None:
        answer = self.api.request("POST", path, json=body, params=parameters)
        if answer.is_error:
            raise refused(f"POST {path}", answer)

    def _delete(self, path: str) -> None:
        answer = self.api.request("DELETE", path)
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise refused(f"DELETE {path}", answer)


def remove_all(api: DockerApi, wanted: Spec) -> list[str]:
    """Nothing that carries the stack's mark is left afterwards, but images that others need; returns what went. Raises
    HostError.
    """
    gone = []
    for name in observe.our_containers(api, wanted):
        remove_container(api, name, wanted)
        gone.append(f"container {name}")
    for kind, found in (("network", observe.our_networks(api, wanted)), ("volume", observe.our_volumes(api, wanted))):
        for name in found:
            answer = api.request("DELETE", f"/{kind}s/{name}")
            if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
                raise refused(f"removing {kind} {name}", answer)
            gone.append(f"{kind} {name}")
    services = wanted.document["services"].values()
    built = sorted({service["image"] for service in services if service["pull_policy"] == "never"})
    return gone + [f"image {name}" for name in images.remove_built(api, built)]


def remove_container(api: DockerApi, name: str, wanted: Spec) -> None:
    """Stops and removes a container, which must carry the stack's mark at this moment. Raises HostError."""
    there = api.container(name)
    if there is None:
        return
    if not wanted.is_ours((there.get("Config") or {}).get("Labels")):
        raise foreign(wanted, (f"container {name}",))
    grace = int((there.get("Config") or {}).get("StopTimeout") or 10)
    with step(f"stopping {name}"):
        # by its id: whatever has the name by then is not touched
        api.request("POST", f"/containers/{there['Id']}/stop", timeout=grace + _STOP_SECONDS)
        answer = api.request(
            "DELETE", f"/containers/{there['Id']}", params={"v": "true", "force": "true"}, timeout=_STOP_SECONDS
        )
    if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
        raise refused(f"removing container {name}", answer)


def refuse_foreign(wanted: Spec, found: Found) -> None:
    """Raises HostError where something of another owner has a name that the stack needs."""
    if found.foreign:
        raise foreign(wanted, found.foreign)


def foreign(wanted: Spec, things: tuple[str, ...]) -> HostError:
    """The error that says what is in the way."""
    kind, _, name = things[0].partition(" ")
    return HostError(
        f"not made by stack {wanted.stack}, and in its way: {', '.join(things)}; nothing was changed",
        remedy=f"look at it: docker {kind} inspect {name}; rename or remove it, or give the stack another name",
    )


def refused(what: str, answer: httpx.Response) -> HostError:
    """The engine's refusal."""
    return HostError(f"{what}: Docker answers {answer.status_code}: {said(answer)}")
