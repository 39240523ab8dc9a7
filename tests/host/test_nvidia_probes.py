"""Probes of every layer: the states that print nothing, and what programs print as values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from host.drivers.nvidia import daemon_json, openpgp
from host.system.looking import ThisMachine
from probes.kubernetes_api import KubernetesApi
from probes.nvidia import ClusterProbe, HostProbe, Layer, Ran, node, parse
from probes.nvidia.advice import driver_words
from stacks.plan import NvidiaHostPlan
from tests.host.test_nvidia_states import plan, right, specification
from tests.support.gpu_machine import KEY, UUIDS, GpuMachine, attach, machine
from tests.unit.test_nvidia_signatures import SEEN

Put = Callable[..., HostProbe]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    def probe(
        make: Callable[[Path], GpuMachine] = right,
        files: Mapping[str, str] = {},
        wanted: NvidiaHostPlan | None = None,
        **parts: Any,
    ) -> HostProbe:
        found = make(tmp_path / "machine")
        found.change(**parts)
        for path, text in files.items():
            found.file(path, text)
        attach(found, monkeypatch.setattr)
        return HostProbe(ThisMachine(found.root), wanted or plan(), "box")

    return probe


def wsl(folder: Path) -> GpuMachine:
    return machine(folder, wsl=True, toolkit="1.19.1")


def wsl1(folder: Path) -> GpuMachine:
    found = wsl(folder)
    (found.root / "dev/dxg").unlink()
    return found


def legacy(folder: Path) -> GpuMachine:
    return right(folder, toolkit="1.17.8")


GONE = json.dumps({"runtimes": {"nvidia": {"path": "/opt/gone/nvidia-container-runtime"}}})
WRITTEN = json.dumps({"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}})
# what is looked at -> arguments of put, the layer, its state, its signature
HOST: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "all right": ({}, "driver", "ok", ""),
    "nouveau": ({"driver": None, "files": {"proc/modules": "nouveau 2080768 4 - Live\n"}}, "driver", "fail", "nouveau"),
    "no driver": ({"driver": None}, "driver", "fail", "no-driver"),
    "WSL1": ({"make": wsl1}, "driver", "fail", "wsl-no-dxg"),
    "Windows without a driver": ({"make": wsl, "driver": None}, "driver", "fail", "wsl-no-driver"),
    "old driver": ({"driver": "535.183.01"}, "driver", "fail", "driver-old"),
    "card missing": ({"wanted": plan(gpus=2)}, "driver", "fail", "fewer-cards"),
    "toolkit right": ({}, "toolkit", "ok", ""),
    "old toolkit": ({"make": lambda f: right(f, toolkit="1.17.7")}, "toolkit", "fail", "toolkit-old"),
    "the broken release": ({"make": lambda f: right(f, toolkit="1.20.0")}, "toolkit", "warn", "toolkit-1.20.0"),
    "toolkit with Docker Desktop": ({"make": wsl, "docker": {"system": "Docker Desktop"}}, "toolkit", "skipped", ""),
    "runtime right": ({}, "runtime", "ok", ""),
    "old Docker": ({"docker": {"version": "19.03.15"}}, "runtime", "fail", "docker-old"),
    "Desktop on Linux": ({"docker": {"system": "Docker Desktop"}}, "runtime", "fail", "docker-desktop-linux"),
    "Desktop under WSL2": ({"make": wsl, "docker": {"system": "Docker Desktop"}}, "runtime", "ok", ""),
    "rootless": ({"docker": {"security": ["name=rootless"]}}, "runtime", "fail", "docker-rootless"),
    "not registered": ({"docker": {"runtimes": ["runc"]}, "files": {"etc/docker/daemon.json": "{}"}}, "runtime", "fail",
                       "runtime-missing"),
    "not restarted": ({"docker": {"runtimes": ["runc"]}, "files": {"etc/docker/daemon.json": WRITTEN}}, "runtime",
                      "fail", "runtime-not-restarted"),
    "path gone": ({"files": {"etc/docker/daemon.json": GONE}}, "runtime", "fail", "runtime-path"),
    "specification right": ({}, "cdi", "ok", ""),
    "no specification": ({"files": {"var/run/cdi/nvidia.yaml": ""}}, "cdi", "warn", "cdi-missing"),
    "no specification, and Docker 29.2 needs it": (
        {"files": {"var/run/cdi/nvidia.yaml": ""}, "docker": {"version": "29.2.0"}}, "cdi", "fail", "cdi-missing",
    ),
    "second card": ({"cards": list(UUIDS)}, "cdi", "fail", "cdi-stale"),
    "one device under WSL2": (
        {"make": wsl, "files": {"var/run/cdi/nvidia.yaml": "nvidia.com/gpu=all\n"}}, "cdi", "ok", "",
    ),
    "links not needed": ({}, "device-links", "skipped", ""),
    "links not needed without systemd's cgroups": (
        {"make": legacy, "docker": {"cgroups": "cgroupfs"}}, "device-links", "skipped", "",
    ),
    "links missing": ({"make": legacy}, "device-links", "warn", "links-missing"),
    "links there": ({"make": legacy, "files": {"dev/char/195:0": ""}}, "device-links", "ok", ""),
    "legacy mode of a new toolkit": (
        {"files": {"etc/nvidia-container-runtime/config.toml": '[nvidia-container-runtime]\nmode = "legacy"\n'}},
        "device-links", "warn", "links-missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOST)
def test_a_state_of_the_machine_is_known_with_cause_and_fix(name: str, put: Put) -> None:
    arguments, layer, state, signature = HOST[name]
    probe = put(**arguments)
    found = {one.id: one for one in probe.layers()}[layer]
    assert (found.state, found.signature) == (state, signature), found
    _complete(found)


def test_a_container_is_started_only_where_an_image_is_named(put: Put) -> None:
    probe = put()
    assert probe.container(None).state == "skipped"
    assert probe.container("local/cuda").state == "ok"


@pytest.mark.parametrize(
    ("parts", "signature"), [({"docker": {"hook": False}}, "no-gpu-driver"), ({"cards": []}, "cuda-no-card")]
)
def test_a_container_that_does_not_get_its_card(put: Put, parts: dict[str, Any], signature: str) -> None:
    assert put(**parts).container("local/cuda").signature == signature


def test_for_k3s_docker_is_not_looked_at(put: Put) -> None:
    assert [layer.id for layer in put(wanted=plan("k3s"), docker=None).layers()] == ["driver", "toolkit"]


# the node


class Scripted:
    """A machine that answers these programs and holds these files, and nothing else."""

    def __init__(self, answers: Mapping[str, Ran], files: Mapping[str, str]) -> None:
        self._answers, self._files = answers, files

    def run(self, words: Any, timeout: float = 20.0) -> Ran:
        assert timeout > 0
        return self._answers.get(" ".join(words), Ran(127, f"{words[0]}: not found"))

    def read(self, path: str) -> str | None:
        return self._files.get(path)

    def exists(self, path: str) -> bool:
        return path in self._files

    def names(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(p.removeprefix(f"{folder}/") for p in self._files if p.startswith(f"{folder}/")))


INSPECT = "docker inspect box --format {{json .HostConfig.DeviceRequests}}"
GPUS = Ran(0, '[{"Driver":"","Count":-1,"DeviceIDs":null,"Capabilities":[["gpu"]],"Options":{}}]\n')
LISTED = Ran(0, "GPU 0: NVIDIA GeForce RTX 2060 SUPER (UUID: GPU-1)\n")
MINIKUBE = {
    INSPECT: GPUS, "docker exec box nvidia-smi -L": LISTED,
    "docker exec box docker info --format {{.DefaultRuntime}}": Ran(0, "nvidia\n"),
}  # fmt: skip
WSL = {"/proc/version": "Linux version 5.15.167.4-microsoft-standard-WSL2", "/dev/dxg": ""}
CTK = {"docker exec box nvidia-ctk --version": Ran(0, "NVIDIA Container Toolkit CLI version 1.18.1\n")}
DXCORE = {"docker exec box test -e /usr/lib/wsl/lib/libdxcore.so": Ran(0, "")}
NODES: dict[str, tuple[dict[str, Ran], dict[str, str], str, str]] = {
    "right": (MINIKUBE, {}, "ok", ""),
    "profile without --gpus": ({**MINIKUBE, INSPECT: Ran(0, "null\n")}, {}, "fail", "minikube-no-gpu"),
    "no profile": ({}, {}, "skipped", ""),
    "other default runtime": (
        {**MINIKUBE, "docker exec box docker info --format {{.DefaultRuntime}}": Ran(0, "runc\n")}, {}, "fail",
        "node-runtime",
    ),
    "libdxcore missing": ({**MINIKUBE, **CTK}, WSL, "fail", "wsl-libdxcore"),
    "libdxcore there": ({**MINIKUBE, **CTK, **DXCORE}, WSL, "ok", ""),
    "an older toolkit in the node": (MINIKUBE, WSL, "ok", ""),
    "the node says so itself": (
        {**MINIKUBE, "docker exec box nvidia-smi -L": Ran(255, "Failed to initialize NVML: Not Supported\n")},
        WSL, "fail", "wsl-libdxcore",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_minikubes_node(name: str) -> None:
    answers, files, state, signature = NODES[name]
    found = node(HostProbe(Scripted(answers, files), plan(), "box"), profile="box", minikube="1.37.0")
    assert (found.state, found.signature) == (state, signature), found
    _complete(found)


CONTAINERD = "/var/lib/rancher/k3s/agent/etc/containerd"
# as K3s 1.33 writes it with containerd 2 (config version 3), and K3s 1.30 with containerd 1.7 (version 2)
V3 = """version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = "nvidia"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia']
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia'.options]
  BinaryName = "/usr/bin/nvidia-container-runtime"
"""
V2 = V3.replace("version = 3", "version = 2").replace("'io.containerd.cri.v1.runtime'", '"io.containerd.grpc.v1.cri"')
WITHOUT = V3[: V3.index("[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.'nvidia']")]
PROGRAM = {"/usr/bin/nvidia-container-runtime": ""}
K3S: dict[str, tuple[dict[str, str], str, str]] = {
    "containerd 2": ({f"{CONTAINERD}/config.toml": V3, **PROGRAM}, "ok", ""),
    "containerd 1": ({f"{CONTAINERD}/config.toml": V2, **PROGRAM}, "ok", ""),
    "before the toolkit": ({f"{CONTAINERD}/config.toml": WITHOUT}, "fail", "k3s-before-toolkit"),
    "program gone": ({f"{CONTAINERD}/config.toml": V3}, "fail", "stale-runtime-path"),
    "a template of its own": (
        {f"{CONTAINERD}/config.toml.tmpl": "version = 2\n", f"{CONTAINERD}/config.toml": V3},
        "fail", "containerd-template",
    ),
    "a template upon K3s' own": ({f"{CONTAINERD}/config-v3.toml.tmpl": '{{ template "base" . }}\n',
                                  f"{CONTAINERD}/config.toml": V3, **PROGRAM}, "ok", ""),
    "not started": ({}, "skipped", ""),
    "no TOML": ({f"{CONTAINERD}/config.toml": "version = "}, "fail", "k3s-before-toolkit"),
}  # fmt: skip


@pytest.mark.parametrize("name", K3S)
def test_k3s_containerd(name: str) -> None:
    files, state, signature = K3S[name]
    found = node(HostProbe(Scripted({}, files), plan("k3s"), "box"))
    assert (found.state, found.signature) == (state, signature), found
    _complete(found)


# the cluster


def plugin(name: str = "nvidia-device-plugin", *, wanted: int = 1, ready: int = 1) -> dict[str, Any]:
    container = {"name": "ctr", "image": "nvcr.io/nvidia/k8s-device-plugin:v0.20.0"}
    if name == "nvidia-gpu-device-plugin":
        container = {"name": name, "image": "registry.k8s.io/nvidia-gpu-device-plugin"}
    return {
        "metadata": {"name": name, "namespace": "gpu"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"spec": {"containers": [container]}}},
        "status": {"desiredNumberScheduled": wanted, "numberReady": ready},
    }


def asking(*, ready: str) -> dict[str, Any]:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    conditions = [{"type": "Ready", "status": ready}]
    if ready == "False":
        conditions.append({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                           "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."})  # fmt: skip
    return {"metadata": {"name": "vllm-0"}, "spec": {"containers": [limits]}, "status": {"conditions": conditions}}


REGISTERED = "I1 server.go:146] Registered device plugin for 'nvidia.com/gpu' with Kubelet\n"
SILENT = "I1 main.go:279] Starting OS watcher.\n"
CLUSTERS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "RuntimeClass there": ({"runtime_class": True}, "runtime-class", "ok", ""),
    "RuntimeClass not needed": ({}, "runtime-class", "skipped", ""),
    "RuntimeClass missing": ({"names_runtime_class": True}, "runtime-class", "fail", "no-runtime-class"),
    "plugin registered": ({}, "device-plugin", "ok", ""),
    "no plugin": ({"plugins": []}, "device-plugin", "fail", "no-plugin"),
    "two plugins": ({"plugins": [plugin(), plugin("add-on")]}, "device-plugin", "fail", "two-plugins"),
    "wanted nowhere": ({"plugins": [plugin(wanted=0, ready=0)]}, "device-plugin", "fail", "plugin-not-wanted"),
    "old add-on": ({"plugins": [plugin("nvidia-gpu-device-plugin")]}, "device-plugin", "fail", "old-addon"),
    "not ready": ({"plugins": [plugin(ready=0)], "log": SILENT}, "device-plugin", "fail", "plugin-not-ready"),
    "ready and silent": ({"log": SILENT}, "device-plugin", "fail", "plugin-silent"),
    "running, and it sees no GPU": (
        {"log": "I1 main.go:317] No devices found. Waiting indefinitely.\n"}, "device-plugin", "fail",
        "node-without-gpu-or-runtime",
    ),
    "crashing, and its last run says why": (
        {"plugins": [plugin(ready=0)], "log": "error: invalid device discovery strategy wsl\n"},
        "device-plugin", "fail", "plugin-strategy",
    ),
    "allocatable": ({}, "allocatable", "ok", ""),
    "none allocatable": ({"allocatable": "0"}, "allocatable", "fail", "none-allocatable"),
    "the resource is unknown": ({"allocatable": None}, "allocatable", "fail", "none-allocatable"),
    "fewer allocatable": ({"allocatable": "1"}, "allocatable", "fail", "fewer-allocatable"),
    "a pod is ready": ({}, "cuda", "ok", ""),
    "no pod asks": ({"pods": []}, "cuda", "skipped", ""),
    "a pod waits for a GPU": ({"pods": [asking(ready="False")]}, "cuda", "warn", ""),
    "the server is gone": ({"gone": True}, "allocatable", "skipped", ""),
}  # fmt: skip


def _api(parts: Mapping[str, Any]) -> KubernetesApi:
    allocatable = {"cpu": "8"} | ({"nvidia.com/gpu": found} if (found := parts.get("allocatable", "2")) else {})

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if parts.get("gone"):
            raise httpx.ConnectError("refused", request=request)
        if path == "/apis/node.k8s.io/v1/runtimeclasses/nvidia":
            return httpx.Response(200 if parts.get("runtime_class") else 404, json={"handler": "nvidia"})
        if path == "/apis/apps/v1/daemonsets":
            return httpx.Response(200, json={"items": parts.get("plugins", [plugin()])})
        if path == "/api/v1/nodes/box":
            return httpx.Response(200, json={"status": {"allocatable": allocatable}})
        if path == "/api/v1/namespaces/gpu/pods":
            spec = plugin()["spec"]["template"]["spec"]
            return httpx.Response(200, json={"items": [{"metadata": {"name": "plugin-x"}, "spec": spec}]})
        if path == "/api/v1/namespaces/gpu/pods/plugin-x/log":
            previous = request.url.params["previous"] == "true"
            return httpx.Response(400 if previous else 200, text=parts.get("log", REGISTERED))
        if path == "/api/v1/namespaces/models/pods":
            return httpx.Response(200, json={"items": parts.get("pods", [asking(ready="True")])})
        assert path == "/api/v1/namespaces/models/events", path
        return httpx.Response(200, json={"items": []})

    return KubernetesApi(httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer)))


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_state_of_the_cluster_is_known_with_cause_and_fix(name: str) -> None:
    parts, layer, state, signature = CLUSTERS[name]
    host = HostProbe(Scripted({}, {}), plan(), "box")
    probe = ClusterProbe(_api(parts), host, "box", "models", 2, parts.get("names_runtime_class", False))
    found = {one.id: one for one in probe.layers()}[layer]
    assert (found.state, found.signature) == (state, signature), found
    _complete(found)


def _complete(found: Layer) -> None:
    """A broken layer says what it saw, why, and what to type, without a place left open; a sound one blames nobody."""
    assert found.evidence
    if found.state in ("fail", "warn"):
        assert found.cause and found.fix
        assert "{" not in found.cause and "{" not in found.fix.replace("{json", ""), found
    else:
        assert not (found.cause or found.fix or found.signature)


def test_every_silent_state_of_the_table_has_a_case() -> None:
    tables = [HOST.values(), CLUSTERS.values()]
    cases = {row[3] for table in tables for row in table} | {row[3] for row in NODES.values()}
    cases |= {row[2] for row in K3S.values()} | {"cuda-no-card"}
    assert cases >= SEEN, SEEN - cases


# what programs print, as values


def test_a_line_of_nvidia_smi() -> None:
    (card,) = parse.cards("0, NVIDIA GeForce RTX 2060 SUPER, GPU-ab, 581.29, 8192, 6900, 7.5\n")
    assert card == parse.Card(0, "NVIDIA GeForce RTX 2060 SUPER", "GPU-ab", "581.29", 8192, 6900, (7, 5))


@pytest.mark.parametrize("nothing", ["[N/A]", "[Not Supported]", "N/A", "[Unknown Error]"])
def test_what_nvidia_smi_does_not_know_is_none(nothing: str) -> None:
    (card,) = parse.cards(f"0, NVIDIA GB10, GPU-ab, 580.95.05, {nothing}, {nothing}, 12.1\n")
    assert (card.total_mib, card.free_mib, card.compute_capability) == (None, None, (12, 1))


@pytest.mark.parametrize("text", ["", "\n", "No devices were found\n", "a, b\n"])
def test_no_card_is_no_card(text: str) -> None:
    assert parse.cards(text) == ()


@pytest.mark.parametrize(
    ("devices", "listed", "missing"),
    [
        (["0", "GPU-1", "all"], ["GPU-1"], set()),
        (["0", "GPU-1", "all"], ["GPU-1", "GPU-2"], {"GPU-2"}),
        (["0", "all"], ["GPU-1"], set()),  # an older toolkit names numbers only
        (["0", "all"], ["GPU-1", "GPU-2"], {"GPU-1", "GPU-2"}),
        (["0:0", "0:1", "MIG-1", "MIG-2", "all"], ["GPU-1", "MIG-1", "MIG-2"], set()),
        (["0", "GPU-1", "all"], ["GPU-1", "MIG-1", "MIG-2"], {"MIG-1", "MIG-2"}),  # MIG was switched on since
    ],
)
def test_what_a_cdi_specification_lacks(devices: list[str], listed: list[str], missing: set[str]) -> None:
    assert parse.missing_in_cdi(devices, listed) == missing


@pytest.mark.parametrize(
    ("text", "version"),
    [("NVIDIA Container Toolkit CLI version 1.19.1\ncommit: 28b7\n", (1, 19, 1)), ("nvidia-ctk: not found", None)],
)
def test_the_toolkits_version(text: str, version: tuple[int, ...] | None) -> None:
    assert parse.toolkit_version(text) == version


@pytest.mark.parametrize("text", ["", "null", "not json", '{"ServerErrors": ["Cannot connect"]}', "[]"])
def test_a_docker_info_without_a_daemon_is_none(text: str) -> None:
    assert parse.docker(text) is None


@pytest.mark.parametrize(
    ("os_release", "family", "words"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "debian", "ubuntu-drivers"),
        ("ID=debian\n", "debian", "nvidia-driver"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "fedora", "akmod-nvidia"),
        ("ID=fedora\n", "fedora", "akmod-nvidia"),
        ("ID=arch\n", "arch", "pacman"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "suse", "docs.nvidia.com"),
        ("ID=nixos\n", "other", "docs.nvidia.com"),
        ("", "other", "docs.nvidia.com"),
    ],
)
def test_how_a_distribution_gets_its_driver(os_release: str, family: str, words: str) -> None:
    system = parse.system(os_release)
    assert system.family == family
    assert words in driver_words(system, wsl=False)[0]
    assert all("in Windows, and none in Linux" in text for text in driver_words(system, wsl=True))


ENTRY = {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, ENTRY),
        ("", ENTRY),
        ("{}", ENTRY),
        ('{"features": {"cdi": true}, "log-opts": {"max-size": "9m"}}',
         {"features": {"cdi": True}, "log-opts": {"max-size": "9m"}, **ENTRY}),
        ('{"runtimes": {"crun": {"path": "crun"}}}', {"runtimes": {"crun": {"path": "crun"}, **ENTRY["runtimes"]}}),
        (GONE, ENTRY),
    ],
)  # fmt: skip
def test_the_runtime_is_added_once_and_the_rest_stays(before: str | None, after: dict[str, Any]) -> None:
    merged = daemon_json.with_nvidia(before, lambda _: False)
    assert merged.changed and json.loads(merged.text) == after
    assert daemon_json.with_nvidia(merged.text, lambda _: False) == daemon_json.Merged(merged.text, changed=False)


@pytest.mark.parametrize("text", ["[]", "{", '{"runtimes": []}', "3"])
def test_what_is_no_configuration_is_not_touched(text: str) -> None:
    with pytest.raises(ValueError):
        daemon_json.with_nvidia(text, lambda _: True)


def test_a_runtime_whose_program_is_there_stays_as_the_owner_wrote_it() -> None:
    own = '{"runtimes":{"nvidia":{"path":"/usr/bin/nvidia-container-runtime","runtimeArgs":[]}}}'
    merged = daemon_json.with_nvidia(own, lambda path: path.startswith("/usr/bin"))
    assert merged == daemon_json.Merged(own, changed=False)


def test_a_fingerprint_is_the_one_that_gpg_prints() -> None:
    key = openpgp.dearmored(KEY)
    assert openpgp.fingerprints(key) == ["5AD49CAD7F0D1E2EA01D67F583FD061B3C765608"]
    assert openpgp.fingerprints(key + key) == ["5AD49CAD7F0D1E2EA01D67F583FD061B3C765608"] * 2  # a second one is seen
    body = key[3 : 3 + int.from_bytes(key[1:3], "big")]
    new_format = b"\xc6" + bytes([((len(body) - 192) >> 8) + 192, (len(body) - 192) & 0xFF]) + body
    assert openpgp.fingerprints(new_format) == ["5AD49CAD7F0D1E2EA01D67F583FD061B3C765608"]


@pytest.mark.parametrize("data", [b"\x00abc", b"\x99\x01\x0d\x04", b"\xc6\xff\x00", b"\x99\x00\x01\x03"])
def test_bytes_that_are_no_key_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"packet|short|version"):
        openpgp.fingerprints(data)


def test_specification_helper_is_of_the_shape_that_the_toolkit_prints(tmp_path: Path) -> None:
    found = machine(tmp_path / "m", toolkit="1.19.1")
    specification(found, *UUIDS)
    assert parse.cdi_devices(found.answer(["nvidia-ctk", "cdi", "list"])[1]) == ("0", "1", *UUIDS, "all")
