"""`lab doctor` on machines that are broken in one way each, and its parts."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.commands.doctor import run
from cli.doctor import fixes
from cli.doctor.examination import Case, examined
from cli.doctor.fixes import steps
from cli.render.doctor import print_report
from probes.doctor import CLUSTER, MACHINE, Subject, examine
from probes.doctor.docker import _error
from probes.doctor.redact import redact
from probes.kubernetes_api import KubernetesApi
from probes.machine import APPS
from probes.nvidia.layer import Ran
from stacks.errors import LabError
from stacks.settings import PROJECT
from tests.support.golden import assert_golden
from tests.support.sick_cluster import a_deployment, a_node, a_release, sick_cluster
from tests.support.sick_machine import DENIED, NO_DAEMON, SickMachine, df, docker_errors
from tests.support.stacks import ROOT

BOX = """config:
  local-ai-lab:machine: {kind: nvidia, gpu: rtx-4060, memoryGiB: 31, cpus: 16, nvidiaDriver: "595.84"}
  local-ai-lab:cluster: {driver: minikube}
  local-ai-lab:modelCache: {path: ~/models}
  local-ai-lab:models:
    - {name: qwen, model: qwen3-4b-awq, contextTokens: 8192, concurrentRequests: 4}
"""
TRIAL = """config:
  local-ai-lab:machine: {kind: cpu, memoryGiB: 16, cpus: 4}
  local-ai-lab:cluster: {driver: embedded}
  local-ai-lab:models:
    - {name: qwen, model: qwen2.5-0.5b-instruct, contextTokens: 2048}
"""
WINDOWS = BOX.replace("kind: nvidia,", "kind: nvidia, platform: wsl2, wslMemoryGiB: 24,")


OTHER = f"nvidia-smi --query-compute-apps={','.join(APPS)} --format=csv,noheader,nounits"
WSL = {"/proc/version": "Linux version 5.15.167.4-microsoft-standard-WSL2", "/dev/dxg": ""}


@dataclass(frozen=True)
class Broken:
    """One way in which a machine can be broken; `cluster` makes the API, where there is one."""

    machine: Callable[[], SickMachine] = SickMachine
    cluster: Callable[[], KubernetesApi] | None = None
    stack: str | None = "box"
    text: str = BOX
    state: str = "fail"
    files: dict[str, str] = field(default_factory=dict)


def _old(stamp: str = "2026-01-05T08:00:00Z") -> KubernetesApi:
    release = a_release("gpu-operator", "pending-upgrade", stamp)
    operator = a_deployment("gpu-operator", "gpu-operator", "nvcr.io/nvidia/gpu-operator:v26.7.0")
    return sick_cluster({"/api/v1/secrets": [release], "/apis/apps/v1/deployments": [operator]})


KUBECTL = "kubectl --kubeconfig=~/.local/state/local-ai-lab/stacks/box/kubeconfig version -o json"


def _kubectl(client: str = "v1.35.1") -> dict[str, Ran]:
    versions = {"clientVersion": {"gitVersion": client}, "serverVersion": {"gitVersion": "v1.35.1"}}
    return {KUBECTL: Ran(0, json.dumps(versions))}


BROKEN = {
    "no-driver": Broken(lambda: SickMachine(without=["nvidia-smi", "nvidia-ctk"])),
    "docker-stopped": Broken(lambda: SickMachine({"docker info --format {{json .}}": docker_errors(NO_DAEMON)})),
    "docker-denied": Broken(lambda: SickMachine({"docker info --format {{json .}}": docker_errors(DENIED)})),
    "disk-pressure": Broken(
        lambda: SickMachine(
            {f"df -P -k {path}": Ran(0, df(200, 6)) for path in ("/", "/var/lib/docker", "/home/somebody")} | _kubectl()
        ),
        lambda: sick_cluster({"/api/v1/nodes": [a_node(DiskPressure="True")]}),
    ),
    "busy-card": Broken(
        lambda: SickMachine(
            {OTHER: Ran(0, "4711, VLLM::EngineCore, 6820\n2040, /usr/lib/xorg/Xorg, 310\n")}, used_mib=7140
        ),
        state="warn",
    ),
    "port-taken": Broken(
        lambda: SickMachine(
            {"ss -ltnpH": Ran(0, 'LISTEN 0 128 0.0.0.0:30080 0.0.0.0:* users:(("ollama",pid=812,fd=3))\n')}
        )
    ),
    "wsl-memory": Broken(
        lambda: SickMachine(
            {"uname -srm": Ran(0, "Linux 5.15.167.4-microsoft-standard-WSL2 x86_64\n"),
             "powershell.exe -NoProfile -NonInteractive -Command (Get-CimInstance Win32_ComputerSystem)"
             ".TotalPhysicalMemory": Ran(0, "33331154944\r\n"),
             "docker exec local-ai-lab nvidia-smi -L": Ran(0, "GPU 0: NVIDIA GeForce RTX 4060\n")},
            {**WSL, "/proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 15000000 kB\n"},
        ),
        text=WINDOWS,
    ),
    "old-processor": Broken(
        lambda: SickMachine(
            {"stat -fc %T /sys/fs/cgroup": Ran(0, "tmpfs\n")},
            {"/proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse4_2 avx\n\nprocessor\t: 1\nflags\t\t: fpu avx\n\n"},
            without=["nvidia-smi", "nvidia-ctk", "docker", "minikube", "kubectl", "sudo"],
        ),
        text=TRIAL,
    ),
    "node-not-ready": Broken(
        lambda: SickMachine(_kubectl("v1.31.4")),
        lambda: sick_cluster(
            {"/api/v1/nodes": [a_node(Ready="Unknown", messages={"Ready": "Kubelet stopped posting node status."})]}
        ),
    ),
    "helm-pending": Broken(lambda: SickMachine(_kubectl()), _old),
    "api-silent": Broken(SickMachine, lambda: sick_cluster(answers=False)),
    "runtime-missing": Broken(
        lambda: SickMachine(
            {"docker info --format {{json .}}": Ran(0, json.dumps({
                "ServerVersion": "29.2.0", "OperatingSystem": "Ubuntu 24.04.3 LTS", "DefaultRuntime": "runc",
                "Runtimes": {"runc": {"path": "runc"}}, "CgroupDriver": "systemd", "DockerRootDir": "/var/lib/docker",
             })),
             "nvidia-ctk cdi list": Ran(0, "nvidia.com/gpu=0\nnvidia.com/gpu=GPU-old\nnvidia.com/gpu=all\n")},
        ),
    ),
    "wrong-stack-file": Broken(text=BOX.replace("qwen3-4b-awq", "qwen3-32b")),
    "machine-only": Broken(stack=None, state="ok"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}/backend")


def _project(folder: Path, text: str) -> Path:
    (folder / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    (folder / "Pulumi.box.yaml").write_text(text)
    return folder


def _case(broken: Broken, folder: Path) -> Case:
    api = broken.cluster() if broken.cluster else None
    return examined(_project(folder, broken.text), broken.stack, broken.machine(), api)


def _shown(case: Case, width: int) -> str:
    text = io.StringIO()
    print_report(Console(file=text, width=width, color_system=None, emoji=False, highlight=False), case.report)
    return text.getvalue()


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_machine_reads_as_it_is(name: str, tmp_path: Path) -> None:
    case = _case(BROKEN[name], tmp_path)
    text = _shown(case, 80)
    known = re.sub(r"plan [0-9a-f]{12}", "plan DIGEST", text.replace(str(tmp_path), "TMP"))
    assert_golden(f"doctor/{name}.out", known)
    assert case.report.state == BROKEN[name].state
    for line in text.splitlines():
        assert len(line) <= 80 or re.search(r"\S{40,}", line), line


@pytest.mark.parametrize("name", BROKEN)
def test_every_layer_that_is_not_well_says_why_and_what_to_type(name: str, tmp_path: Path) -> None:
    for layer in _case(BROKEN[name], tmp_path).report.layers:
        assert layer.state in ("ok", "warn", "fail", "skipped")
        if layer.state in ("warn", "fail"):
            assert layer.evidence and layer.cause and layer.fix, layer
            assert "{" not in layer.fix, layer
        else:
            assert layer.cause == layer.fix == "", layer


def test_a_wide_terminal_gets_every_layer_in_one_line(tmp_path: Path) -> None:
    text = _shown(_case(BROKEN["machine-only"], tmp_path), 200)
    assert "  ok       docker        Docker 28.5.1, Ubuntu 24.04.3 LTS, /var/lib/docker, cgroups by systemd\n" in text


class _Exploding(SickMachine):
    """Every look fails in a way that nobody thought of."""

    def run(self, words: Any, timeout: float = 20.0) -> Ran:
        raise RuntimeError(f"bang: {words[0]}")

    def read(self, path: str) -> str | None:
        raise OSError("bang")

    def exists(self, path: str) -> bool:
        raise OSError("bang")


def test_every_check_is_run_and_none_raises(tmp_path: Path) -> None:
    layers = (*examine(MACHINE, Subject(_Exploding())), *examine(CLUSTER, Subject(_Exploding())))
    assert [layer.id for layer in layers] == [*MACHINE, *CLUSTER]
    assert {layer.state for layer in layers} == {"skipped"}
    assert "cannot be looked at: bang: uname" in layers[0].evidence


def test_the_exit_code_says_whether_something_is_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _project(tmp_path, BOX)

    def code(machine: SickMachine, stack: str | None) -> object:
        with pytest.raises(SystemExit) as ended:
            run(tmp_path, stack, fix=False, yes=False, bundle=None, as_json=False, machine=machine)
        return ended.value.code

    assert code(SickMachine(), None) == 0
    assert code(BROKEN["busy-card"].machine(), "box") == 0  # to look at, and nothing is broken
    assert code(BROKEN["docker-stopped"].machine(), "box") == 1
    with pytest.raises(LabError, match="there is no stack file") as caught:
        code(SickMachine(), "nope")
    assert caught.value.exit_code == 2
    assert "NVIDIA" in capsys.readouterr().out


def test_for_machines_it_is_json_of_one_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _project(tmp_path, BOX)
    with pytest.raises(SystemExit):
        run(tmp_path, "box", fix=False, yes=False, bundle=None, as_json=True, machine=SickMachine())
    document = json.loads(capsys.readouterr().out)
    assert {k: document[k] for k in ("format", "stack", "state", "fixed")} == {
        "format": 1, "stack": "box", "state": "ok", "fixed": [],
    }  # fmt: skip
    for layer in document["layers"]:
        assert set(layer) == {"group", "id", "state", "evidence", "cause", "fix", "signature"}
    assert {layer["group"] for layer in document["layers"]} == {"machine", "nvidia", "cluster", "stack"}


def test_the_stacks_own_engine_and_ports_are_no_fault(tmp_path: Path) -> None:
    pod = {"metadata": {"name": "qwen-1"}, "status": {"phase": "Running"}, "spec": {"containers": [{"name": "vllm"}]}}
    busy = SickMachine(
        {OTHER: Ran(0, "4711, VLLM::EngineCore, 6820\n"),
         "ss -ltnpH": Ran(0, "LISTEN 0 4096 127.0.0.1:30080 0.0.0.0:*\n"), **_kubectl()},
        used_mib=6900,
    )  # fmt: skip
    api = sick_cluster({"/api/v1/namespaces/local-ai-lab-box/pods": [pod]})
    layers = {layer.id: layer for layer in examined(_project(tmp_path, BOX), "box", busy, api).report.layers}
    assert (layers["card-memory"].state, layers["ports"].state) == ("ok", "ok")
    assert "the stack runs" in layers["card-memory"].evidence


def test_the_stacks_own_containers_are_no_fault(tmp_path: Path) -> None:
    ps = "docker ps --filter label=local-ai-lab.stack=box --format {{.Names}}"
    taken = Ran(0, 'LISTEN 0 4096 127.0.0.1:30080 0.0.0.0:* users:(("docker-proxy",pid=9,fd=4))\n')
    text = BOX.replace("driver: minikube", "driver: docker")

    def states(containers: str) -> dict[str, tuple[str, str]]:
        machine = SickMachine({OTHER: Ran(0, ""), "ss -ltnpH": taken, ps: Ran(0, containers)}, used_mib=6900)
        layers = examined(_project(tmp_path, text), "box", machine).report.layers
        return {layer.id: (layer.state, layer.evidence) for layer in layers}

    running, gone = states("local-ai-lab-box-qwen\n"), states("")
    assert running["cluster"] == ("ok", "containers of the stack: local-ai-lab-box-qwen")
    assert (running["ports"][0], running["card-memory"][0]) == ("ok", "ok")
    assert gone["cluster"][0] == "skipped"
    assert (gone["ports"][0], gone["card-memory"][0]) == ("fail", "warn")


@pytest.mark.parametrize(
    ("lock", "state", "words"),
    [
        ({"pid": 999_999_9, "hostname": socket.gethostname()}, "warn", "which is gone"),
        ({"pid": 1, "hostname": "elsewhere"}, "warn", "locked by process 1 on elsewhere"),
    ],
)
def test_a_lock_is_seen(tmp_path: Path, lock: dict, state: str, words: str) -> None:
    folder = tmp_path / "backend" / ".pulumi" / "locks" / "organization" / PROJECT / "box"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text(json.dumps(lock))
    case = examined(_project(tmp_path, BOX), "box", SickMachine())
    (layer,) = (layer for layer in case.report.layers if layer.id == "pulumi-state")
    assert (layer.state, words in layer.evidence) == (state, True)
    assert [step.what for step in steps(case)] == (
        ["remove the lock of the killed run: pulumi cancel"] if layer.signature else []
    )


def test_pending_operations_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "backend" / ".pulumi" / "stacks" / PROJECT
    folder.mkdir(parents=True)
    latest = {"resources": [{}, {}], "pending_operations": [{}]}
    (folder / "box.json").write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))
    case = examined(_project(tmp_path, BOX), "box", SickMachine())
    (layer,) = (layer for layer in case.report.layers if layer.id == "pulumi-state")
    assert (layer.state, layer.cause) == ("warn", "a killed run had begun 1 operations")
    assert layer.evidence == "2 resources"


def test_what_can_be_mended_is_listed_asked_for_and_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _project(tmp_path, BOX)
    machine, ran = BROKEN["docker-stopped"].machine(), []

    def recorded(words: list[str], **named: Any) -> None:
        ran.append((words, named["root"]))
        machine.programs.update(SickMachine().programs)

    monkeypatch.setattr(fixes.command, "run", recorded)
    monkeypatch.setattr("cli.commands.doctor.steps", lambda case: [s for s in steps(case) if "systemctl" in s.what])
    with pytest.raises(LabError, match="nobody can be asked here") as caught:
        run(tmp_path, "box", fix=True, yes=False, bundle=None, as_json=False, machine=machine)
    assert (caught.value.remedy, ran) == ("./lab doctor box --fix --yes", [])
    assert "root  start the Docker daemon: systemctl start docker" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "box", fix=True, yes=True, bundle=None, as_json=False, machine=machine)
    assert (ended.value.code, ran) == (0, [(["systemctl", "start", "docker"], True)])
    assert "done   start the Docker daemon" in capsys.readouterr().out


def test_without_a_stack_the_oldest_driver_that_any_image_runs_on_is_enough(tmp_path: Path) -> None:
    def driver(version: str) -> str:
        machine = SickMachine()
        known = machine.programs.items()
        machine.programs = {words: Ran(ran.code, ran.output.replace("595.84", version)) for words, ran in known}
        layers = examined(_project(tmp_path, BOX), None, machine).report.layers
        return next(layer.state for layer in layers if layer.id == "driver")

    assert [driver(v) for v in ("574.1", "575.64", "580.95")] == ["fail", "ok", "ok"]


def test_nvidias_layers_are_mended_as_up_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, ran = _case(BROKEN["runtime-missing"], tmp_path), []
    (step,) = steps(case)
    assert (step.root, step.what.startswith("NVIDIA's layers, as `up` does: NVIDIA container toolkit")) == (True, True)

    def recorded(words: list[str], **named: Any) -> None:
        told = named["environment"]
        ran.append((words[1:], told["LAB_STACK"], json.loads(told["LAB_SPEC"])["runtime"]))

    monkeypatch.setattr(fixes.command, "run", recorded)
    step.do()
    assert ran == [(["-m", "host", "nvidia", "ensure"], "box", "docker")]


def test_nothing_is_mended_that_loses_something(tmp_path: Path) -> None:
    for name in ("disk-pressure", "busy-card", "port-taken", "docker-denied", "node-not-ready", "helm-pending"):
        folder = tmp_path / name
        folder.mkdir()
        assert [s.what for s in steps(_case(BROKEN[name], folder)) if not s.what.startswith("NVIDIA")] == [], name


SECRETS = {
    "a token of the Hub": ("HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUv", "AbCdEfGh"),
    "a bearer": ("Authorization: Bearer abc.def-ghi12345", "abc.def"),
    "an OpenAI-like key": ("--api-key sk-proj-1234567890abcdef", "1234567890"),
    "a password": ('password: "correct horse"', "correct"),
    "a passphrase": ("PULUMI_CONFIG_PASSPHRASE=swordfish", "swordfish"),
    "JSON": ('{"apiKey": "s3cr3t-value", "a": 1}', "s3cr3t"),
    "a sealed value": ("secure: v1:abcdefgh1234:ZYXWVUT9876=", "ZYXWVUT"),
    "a salt": ("encryptionsalt: v1:AbCdEf12=:v1:QrStUv34:XyZ9876=", "QrStUv34"),
    "a kubeconfig": ("    client-key-data: LS0tLS1CRUdJTiBSU0EK", "LS0tLS1"),
    "a private key": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    "a cut private key": ("-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow"),
    "a JWT": ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "eyJzdWIi"),
    "a URL": ("index-url = https://user:hunter2@pypi.example/simple", "hunter2"),
    "a cloud key": ("AWS_ACCESS_KEY_ID AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
    "a GitHub token": ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "16C7e42F"),
    "a home folder": ("/home/maria/models and C: /mnt/c/Users/Maria/x", "aria"),
    "a hardware address": ("link/ether 02:42:ac:11:00:02", "02:42:ac"),
    "the machine's name": ("host big-box: ready", "big-box"),
}


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_is_taken_out(what: str) -> None:
    text, secret = SECRETS[what]
    assert secret in text
    assert secret not in redact(text, names=("big-box",))


@pytest.mark.parametrize(
    "text",
    [
        "contextTokens: 8192",
        "tokens: 10",
        '"token": null',
        "maxTokens=512, 32.3 tokens/s",
        "GPU KV cache size: 25,000 tokens",
        "NVIDIA GeForce RTX 4060, 595.84, 8188 MiB",
        "apiVersion: v1:pods",
        "2026-11-26T20:00:00Z",
        "/var/lib/docker 9%",
        "nvidia.com/gpu: 1",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text, names=("ab",)) == text


def test_a_bundle_has_what_helps_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{BOX}  local-ai-lab:apiKey: {{secure: v1:abcdefgh1234:ZYXWVUT9876=}}\nencryptionsalt: v1:AbCdEf12=\n"
    _project(tmp_path, text)
    machine = SickMachine(
        {**_kubectl(), "uname -srm": Ran(0, "Linux big-box x86_64\n")},
        {"/etc/docker/daemon.json": '{"proxies": {"http-proxy": "http://user:hunter2@proxy:3128"}}'},
    )
    pod = {
        "metadata": {"name": "qwen-1"},
        "status": {"phase": "Running"},
        "spec": {"containers": [{"name": "vllm", "env": [{"name": "HF_TOKEN", "value": "hf_AbCdEfGhIjKl"}]}]},
    }
    api = sick_cluster({"/api/v1/namespaces/local-ai-lab-box/pods": [pod]})
    monkeypatch.setattr(socket, "gethostname", lambda: "big-box")
    path = tmp_path / "help.tar.gz"
    with pytest.raises(SystemExit):
        run(tmp_path, "box", fix=False, yes=False, bundle=path, as_json=False, machine=machine, api=api)
    said = capsys.readouterr().out
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        contents = {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}  # type: ignore[union-attr]
    for name in ("report.txt", "report.json", "machine.json", "stack.yaml", "plan.json", "cluster/nodes.yaml"):
        assert contents[f"lab-doctor/{name}"], name
        assert name in said
    everything = "\n".join(contents.values())
    for secret in ("ZYXWVUT", "AbCdEf12", "hunter2", "AbCdEfGhIjKl", "big-box"):
        assert secret not in everything, secret
    with pytest.raises(LabError, match="is there already"):
        run(tmp_path, "box", fix=False, yes=False, bundle=path, as_json=False, machine=machine, api=api)


def test_no_file_of_a_test_names_this_machine() -> None:
    for path in sorted((ROOT / "tests" / "data" / "doctor").glob("*.out")):
        assert os.environ.get("HOME", "/root") not in path.read_text(), path


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('{"ServerErrors": ["no daemon"]}', "no daemon"),
        ('{"ID": ""}\nCannot connect', "Cannot connect"),
        ("Cannot connect", "Cannot connect"),
        ('{"ID": ""}', "no answer"),
        ("", "no answer"),
        ("{no json}", "{no json}"),
    ],
)
def test_the_reason_why_docker_is_silent_is_no_json(said: str, told: str) -> None:
    assert _error(said) == told
