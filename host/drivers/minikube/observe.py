"""What is there: minikube's record of the profile, the node's container, what both say of themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from host.drivers import ownership
from host.drivers.minikube.tools import Tools
from host.drivers.minikube.wanted import Wanted
from host.drivers.ownership import Mark, Owner
from probes.kubernetes_api import KubernetesApi
from stacks.errors import LabError

State = Literal["absent", "stopped", "degraded", "running", "unknown"]
_HOST, _CLUSTER, _KUBECONFIG = 1, 2, 4  # bits of `minikube status`' exit code
_NO_PROFILE = 85
_API_SECONDS = 5.0


@dataclass(frozen=True)
class Profile:
    """What minikube recorded when the profile was made: config.json, under minikube's own field names."""

    driver: str
    runtime: str
    kubernetes: str
    base_image: str
    gpus: str
    cni: str
    mount: str
    addons: frozenset[str]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Profile:
        """From config.json as minikube 1.36 to 1.38 write it (pkg/minikube/config/types.go)."""
        kubernetes = document.get("KubernetesConfig") or {}
        mounts = document.get("ContainerVolumeMounts") or [document.get("MountString") or ""]
        return cls(
            driver=str(document.get("Driver") or ""),
            runtime=str(kubernetes.get("ContainerRuntime") or ""),
            kubernetes=str(kubernetes.get("KubernetesVersion") or ""),
            base_image=str(document.get("KicBaseImage") or ""),
            gpus=str(document.get("GPUs") or ""),
            cni=str(kubernetes.get("CNI") or ""),
            mount=str(mounts[0]),
            addons=frozenset(name for name, on in (document.get("Addons") or {}).items() if on),
        )


@dataclass(frozen=True)
class Container:
    """The node as Docker has it. `memory_mib` and `cpus` are 0 where Docker holds no limit; `gpu`: whether it was made
    with a device request for GPUs.
    """

    id: str
    running: bool
    gpu: bool
    binds: tuple[str, ...]
    ports: frozenset[int]
    memory_mib: int
    cpus: float

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Container:
        """From one entry of `docker container inspect` (Docker's API, ContainerInspect)."""
        host = document.get("HostConfig") or {}
        bound = (host.get("PortBindings") or {}).values()
        said = [entry.get("HostPort", "") for entries in bound for entry in entries or ()]
        return cls(
            id=str(document["Id"]),
            running=bool((document.get("State") or {}).get("Running")),
            gpu=bool(host.get("DeviceRequests")),
            binds=tuple(host.get("Binds") or ()),
            ports=frozenset(int(port) for port in said if port.isdecimal()),
            memory_mib=int(host.get("Memory") or 0) // 2**20,
            cpus=int(host.get("NanoCpus") or 0) / 1e9,
        )


@dataclass(frozen=True)
class Observed:
    """All that a decision rests on.

    `answered`: the cluster said whose it is, `inside` then being its owner or None. `sees_gpu`: whether the running
    node sees a GPU; None where nobody asked.
    """

    profile: Profile | None = None
    container: Container | None = None
    state: State = "absent"
    mark: Mark | None = None
    answered: bool = False
    inside: Owner | None = None
    sees_gpu: bool | None = None
    problem: str = ""

    @property
    def anything(self) -> bool:
        """Whether something of that name is there, the stack's or not."""
        return self.profile is not None or self.container is not None


def look(wanted: Wanted, tools: Tools) -> Observed:
    """Asks minikube, Docker and the cluster; changes nothing but the kubeconfig that is minikube's to write for us.

    Raises HostError where Docker cannot be asked.
    """
    mark = ownership.read(ownership.mark_file(wanted.plan.driver, wanted.profile))
    profile, container = read_profile(wanted), read_container(wanted, tools)
    if profile is None:
        return Observed(None, container, "absent" if container is None else "unknown", mark)
    state = status(tools) if tools.minikube else _by_container(container)
    if state != "running" or mark is None or tools.minikube is None:
        return Observed(profile, container, state, mark)
    tools.update_context()
    answered, inside, problem = _ask_cluster(wanted)
    gpu, said = tools.node_sees_gpu()
    return Observed(profile, container, state, mark, answered, inside, gpu, problem or ("" if gpu else said))


def status(tools: Tools) -> State:
    """What `minikube status` says. Its exit code is read before its output, which need not be JSON."""
    code, text = tools.status()
    return parse_status(code, text)


def parse_status(code: int, text: str) -> State:
    """The exit code is 85 for a missing profile and else a sum of bits (cmd/minikube/cmd/status.go of 1.37.0).

    Where the node's container is gone the code is 0 and the text is `null`: minikube counts over no nodes at all.
    """
    if code == _NO_PROFILE:
        return "absent"
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    node = found[0] if isinstance(found, list) and found else found
    if not isinstance(node, dict):
        return "unknown" if text.strip() != "null" else "stopped"
    if code & ~(_HOST | _CLUSTER | _KUBECONFIG):
        return "unknown"
    if code & _HOST or node.get("Host") != "Running":
        return "stopped"
    if code & _CLUSTER or node.get("Kubelet") != "Running" or node.get("APIServer") != "Running":
        return "degraded"
    return "running"  # a kubeconfig that points elsewhere is put right on each run


def read_profile(wanted: Wanted) -> Profile | None:
    """The profile's record; one that cannot be parsed counts as a record of nothing, so that it differs."""
    try:
        document = json.loads(wanted.config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return Profile.parse({})
    return Profile.parse(document if isinstance(document, dict) else {})


def read_container(wanted: Wanted, tools: Tools) -> Container | None:
    """The container of the profile's name. Raises HostError where Docker cannot be asked."""
    document = tools.inspect(wanted.profile)
    return None if document is None else Container.parse(document)


def image_tag(reference: str) -> str:
    """The tag of a node image: minikube takes the same image from another registry where the first does not answer."""
    found = re.search(r":(v[0-9][^@:/]*)", reference)
    return found[1] if found else reference


def _by_container(container: Container | None) -> State:
    return "unknown" if container and container.running else "stopped"


def _ask_cluster(wanted: Wanted) -> tuple[bool, Owner | None, str]:
    try:
        api = KubernetesApi.from_kubeconfig(str(wanted.tool_kubeconfig), stack=wanted.stack, timeout=_API_SECONDS)
        return True, ownership.read_inside(api), ""
    except LabError as error:
        return False, None, str(error)
