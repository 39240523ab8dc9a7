"""Probes of the layers of a cluster: the node's runtime, RuntimeClass, device plugin, what is allocatable, and a pod
that uses a card. Each looks and changes nothing; a pod's phase is never taken for an answer of its program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from probes.diagnosis import pod_problem
from probes.diagnosis.nvidia import UNKNOWN, classify_log, figures
from probes.diagnosis.pod import is_ready
from probes.diagnosis.problem import clean
from probes.kubernetes_api import KubernetesApi
from probes.nvidia.host import HostProbe
from probes.nvidia.layer import Layer
from probes.nvidia.parse import containerd, toolkit_version
from stacks import names

_PLUGIN_IMAGE = "k8s-device-plugin"
_REGISTERED = "Registered device plugin for 'nvidia.com/gpu' with Kubelet"
_TAIL_LINES = "400"


@dataclass(frozen=True)
class ClusterProbe:
    """The cluster behind `api` against what the plan wants: `allocatable` GPUs (cards times shares), and whether pods
    name a RuntimeClass. `host` has the machine and fills in what cause and fix say of it.
    """

    api: KubernetesApi
    host: HostProbe
    node: str
    namespace: str
    allocatable: int
    names_runtime_class: bool = False

    def layers(self) -> tuple[Layer, ...]:
        """Every layer of the cluster; one that cannot be read is skipped and says why."""
        probes: dict[str, Callable[[], Layer]] = {
            "runtime-class": self.runtime_class,
            "device-plugin": self.device_plugin,
            "allocatable": self.offered,
            "cuda": self.pod,
        }
        return tuple(_read(name, probe) for name, probe in probes.items())

    def runtime_class(self) -> Layer:
        """The RuntimeClass that GPU pods name exists."""
        found = self.api.get("/apis/node.k8s.io/v1/runtimeclasses/nvidia")
        if found.status_code == httpx.codes.OK:
            return Layer("runtime-class", "ok", f"nvidia, handler {found.json().get('handler')}")
        if not self.names_runtime_class:
            return Layer("runtime-class", "skipped", "no pod of the stack names one")
        return self.host.broken("runtime-class", "no-runtime-class", f"HTTP {found.status_code}")

    def device_plugin(self) -> Layer:
        """One device plugin is wanted, ready, and says in its log that it registered the resource."""
        plugins = [s for s in self.api.items("/apis/apps/v1/daemonsets") if _is_plugin(s)]
        places = [f"{s['metadata']['namespace']}/{s['metadata']['name']}" for s in plugins]
        if not plugins:
            return self.host.broken("device-plugin", "no-plugin", "no DaemonSet has its image")
        if len(plugins) > 1:
            return self.host.broken("device-plugin", "two-plugins", ", ".join(places), plugins=" or ".join(places))
        (plugin,), status = plugins, plugins[0].get("status", {})
        words = {"namespace": plugin["metadata"]["namespace"], "plugin": plugin["metadata"]["name"], "node": self.node}
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
        seen = f"{places[0]}: {ready} of {wanted} ready"
        if words["plugin"].startswith("nvidia-gpu-device-plugin"):
            return self.host.broken("device-plugin", "old-addon", seen, profile=self.node, **words)
        if wanted == 0:
            return self.host.broken("device-plugin", "plugin-not-wanted", seen, **words)
        log = self._log(plugin)
        if _REGISTERED in log and ready >= wanted:
            return Layer("device-plugin", "ok", f"{seen}; {_REGISTERED}")
        found = classify_log(log, wsl=self.host.wsl)
        if found.ident != UNKNOWN:
            return self.host.broken("device-plugin", found.ident, found.evidence, **{**figures(found), **words})
        ident = "plugin-silent" if ready >= wanted else "plugin-not-ready"
        return self.host.broken("device-plugin", ident, found.evidence or seen, said=seen, **words)

    def offered(self) -> Layer:
        """The node offers as many GPUs as the plan counts on."""
        node = self.api.get(f"/api/v1/nodes/{self.node}").raise_for_status().json()
        have = int(node.get("status", {}).get("allocatable", {}).get(names.GPU, 0))
        words = {"namespace": "NAMESPACE", "plugin": "PLUGIN"}
        if plugins := [s for s in self.api.items("/apis/apps/v1/daemonsets") if _is_plugin(s)]:
            words = {"namespace": plugins[0]["metadata"]["namespace"], "plugin": plugins[0]["metadata"]["name"]}
        seen = f"{self.node}: {have} of {self.allocatable} {names.GPU}"
        if have == 0:
            return self.host.broken("allocatable", "none-allocatable", seen, **words)
        if have < self.allocatable:
            figures_ = {"have": str(have), "wanted": str(self.allocatable)}
            return self.host.broken("allocatable", "fewer-allocatable", seen, **words, **figures_)
        return Layer("allocatable", "ok", seen)

    def pod(self) -> Layer:
        """A pod of the stack that asked for a GPU is ready, which its own health check says."""
        pods = [p for p in self.api.items(f"/api/v1/namespaces/{self.namespace}/pods") if _asks_for_gpu(p)]
        if not pods:
            return Layer("cuda", "skipped", "no pod of the stack asks for a GPU")
        for pod in pods:
            name = pod["metadata"]["name"]
            if not is_ready(pod):
                events = f"/api/v1/namespaces/{self.namespace}/events"
                found = pod_problem(pod, events=self.api.items(events, fieldSelector=f"involvedObject.name={name}"))
                filled = found and found.filled(stack=self.host.stack, pod=name, namespace=self.namespace)
                if filled:
                    layer = Layer("cuda", "fail", f"{name}: {filled.evidence}", filled.what, filled.remedy)
                    return layer if filled.final else layer.warned()
        return Layer("cuda", "ok", f"{', '.join(p['metadata']['name'] for p in pods)} ready")

    def _log(self, plugin: Mapping[str, Any]) -> str:
        """The end of the plugin's log, that of the run before where it keeps ending."""
        space, labels = plugin["metadata"]["namespace"], plugin["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        text = ""
        for pod in self.api.items(f"/api/v1/namespaces/{space}/pods", labelSelector=selector):
            path = f"/api/v1/namespaces/{space}/pods/{pod['metadata']['name']}/log"
            container = _plugin_container(pod["spec"])["name"]
            for previous in ("true", "false"):
                found = self.api.get(path, container=container, previous=previous, tailLines=_TAIL_LINES)
                text += found.text if found.status_code == httpx.codes.OK else ""
        return text


def node(host: HostProbe, *, profile: str | None = None, minikube: str = "") -> Layer:
    """The node's own container runtime knows NVIDIA's: of the minikube `profile`, or of K3s."""
    return _minikube(host, profile, minikube) if profile else _k3s(host)


def _minikube(host: HostProbe, profile: str, minikube: str) -> Layer:
    words = {"profile": profile, "minikube": minikube}
    inspected = host.machine.run(["docker", "inspect", profile, "--format", "{{json .HostConfig.DeviceRequests}}"])
    if not inspected.ok:
        return Layer("node", "skipped", clean(inspected.output) or f"there is no container {profile}")
    if inspected.output.strip() in ("null", "[]", ""):
        return host.broken("node", "minikube-no-gpu", f"{profile}: DeviceRequests null", **words)
    inside = ("docker", "exec", profile)
    ran = host.machine.run([*inside, "nvidia-smi", "-L"])
    if not ran.ok:
        return host.said("node", ran, "cuda-no-card", said=clean(ran.output), **words)
    if host.wsl and _lacks_libdxcore(host, inside):
        return host.broken("node", "wsl-libdxcore", "libdxcore is not in /usr/lib/wsl/lib of the node", **words)
    default = host.machine.run([*inside, "docker", "info", "--format", "{{.DefaultRuntime}}"]).output.strip()
    if default != "nvidia":
        return host.broken("node", "node-runtime", f"default runtime {default}", **words)
    return Layer("node", "ok", f"{clean(ran.output)}; default runtime nvidia")


def _lacks_libdxcore(host: HostProbe, inside: tuple[str, ...]) -> bool:
    version = toolkit_version(host.machine.run([*inside, "nvidia-ctk", "--version"]).output)
    there = host.machine.run([*inside, "test", "-e", "/usr/lib/wsl/lib/libdxcore.so"]).ok
    return version is not None and version >= (1, 18) and not there


_K3S = "/var/lib/rancher/k3s/agent/etc/containerd"


def _k3s(host: HostProbe) -> Layer:
    for name in ("config-v3.toml.tmpl", "config.toml.tmpl"):
        template = host.machine.read(f"{_K3S}/{name}")
        if template is not None and '{{ template "base" . }}' not in template:
            return host.broken("node", "containerd-template", f"{_K3S}/{name}", path=f"{_K3S}/{name}")
    text = host.machine.read(f"{_K3S}/config.toml")
    if text is None:
        return Layer("node", "skipped", f"{_K3S}/config.toml cannot be read: K3s was not started, or root is needed")
    found = containerd(text)
    if found is None or "nvidia" not in found.runtimes:
        return host.broken("node", "k3s-before-toolkit", f"runtimes: {', '.join(found.runtimes) if found else 'none'}")
    program = found.runtimes["nvidia"]
    if program.startswith("/") and not host.machine.exists(program):
        return host.broken("node", "stale-runtime-path", f"{program} is not there")
    return Layer("node", "ok", f"runtime nvidia: {program}, default {found.default or 'runc'}")


def _read(name: str, probe: Callable[[], Layer]) -> Layer:
    try:
        return probe()
    except (httpx.HTTPError, KeyError, ValueError, TypeError) as error:
        return Layer(name, "skipped", f"the cluster cannot be asked: {clean(str(error))}")


def _is_plugin(daemon_set: Mapping[str, Any]) -> bool:
    spec = daemon_set["spec"]["template"]["spec"]
    return any(_PLUGIN_IMAGE in c.get("image", "") or "nvidia-gpu-device-plugin" in c.get("name", "")
               for c in spec["containers"])  # fmt: skip


def _plugin_container(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((c for c in spec["containers"] if _PLUGIN_IMAGE in c.get("image", "")), spec["containers"][0])


def _asks_for_gpu(pod: Mapping[str, Any]) -> bool:
    return any(names.GPU in c.get("resources", {}).get("limits", {}) for c in pod["spec"]["containers"])
