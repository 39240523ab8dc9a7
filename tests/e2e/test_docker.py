"""A stack of plain Docker for real: Debian's Docker engine, Pulumi's engine, and vLLM on the processors, first with a
port of its own, then behind the gateway.
"""

import json
import os
import shutil
import ssl
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from host.artifacts.images import build
from host.gateway import gateway_files
from stacks import names
from tests.support import docker_engine
from tests.support.project_copy import ProjectCopy

pytestmark = pytest.mark.e2e

STACK, MODEL, PORT = "e2e-docker", "gemma-3-270m", 30095
PROJECT = names.cluster_name(STACK)
CONTAINER = names.container(PROJECT, MODEL)
_ROUNDS = 20
_WEIGHTS = "~/.cache/local-ai-lab/test-models"


class Lab(ProjectCopy):
    """A copy of the project with one stack file of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.own = {
            "machine": {"kind": "cpu", "memoryGiB": 20, "cpus": 2},
            "cluster": {"driver": "docker"},
            "modelCache": {"path": _WEIGHTS},
            "models": [
                {"name": MODEL, "model": MODEL, "contextTokens": 2048, "concurrentRequests": 4, "port": PORT},
            ],
        }
        self.write()
        _local_envoy(folder / "stacks/planning/gateway.py")

    def write(self, **more: Any) -> None:
        """The stack file, with more settings than the first ones."""
        self.write_stack(STACK, {**self.own, **more})

    def up(self) -> dict:
        return self("up", STACK, "--yes", "--json")


def _local_envoy(planner: Path) -> None:
    """Envoy's image is made of PyPI's package here too: this Docker engine reaches no registry."""
    text = planner.read_text()
    chosen = '"envoy-embedded" if embedded else "envoy"'
    assert text.count(chosen) == 1
    planner.write_text(text.replace(chosen, '"envoy-embedded"'))


def docker(*words: str) -> list[str]:
    """The lines that the docker command prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=False)  # noqa: S607
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout.splitlines()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab beside a Docker engine of its own, whose stack is not there yet."""
    if Path("/sys/class/net/docker0").exists():
        pytest.skip("this machine has a Docker engine of its own, and both would share a bridge")
    folder = (
        build.cache_folder() / f"test-docker-{os.getpid()}"
    )  # images need a disk, which a temporary folder may lack
    state = Path(names.state_folder(STACK)).expanduser()
    shutil.rmtree(state, ignore_errors=True)  # of a run that was ended: its Docker engine is gone
    try:
        with docker_engine.running(folder, build.cache_folder()) as surroundings:
            for name, value in surroundings.items():
                monkeypatch.setenv(name, value)
            made = Lab(tmp_path / "lab")
            yield made
            made("down", STACK, "--yes", codes=(0, 1))  # 1: nothing is there
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)


def _left() -> list[str]:
    """What the engine holds of any stack."""
    marked = ("--filter", f"label={names.STACK_LABEL}")
    found = [*docker("ps", "--all", "--quiet", *marked), *docker("network", "ls", "--quiet", *marked)]
    return [*found, *docker("volume", "ls", "--quiet", *marked), *docker("images", "--quiet")]


def _inspected(path: str) -> str:
    (line,) = docker("inspect", "--format", f"{{{{json {path}}}}}", CONTAINER)
    return line


def test_a_stack_in_docker_answers_is_repaired_and_leaves_nothing(lab: Lab) -> None:
    first = lab.up()
    assert first["ok"]
    assert set(first["summary"]) == {"create"}
    (walk,) = first["check"]
    assert [hop["name"] for hop in walk["hops"]] == ["docker", "container", "/v1/models", "chat", "streaming"]
    assert len(walk["text"]) > 1
    print("\nfirst up", first["seconds"], "s:", walk["text"], walk["tokensPerSecond"], "tokens/s")

    made = _inspected(".Id")
    second = lab.up()
    assert set(second["summary"]) == {"same"}
    assert second["check"][0]["ok"]
    assert _inspected(".Id") == made
    print("again", second["seconds"], "s")

    docker("rm", "--force", CONTAINER)
    third = lab.up()
    assert third["ok"]
    assert third["summary"].get("update") == 1
    print("container removed:", third["summary"], third["seconds"], "s")

    memory = _inspected(".HostConfig.Memory")
    docker("update", "--memory", "6g", "--memory-swap", "6g", CONTAINER)
    assert lab("status", STACK, "--json")["cluster"]["state"] == "drifted"
    lab("pulumi", "up", "--stack", STACK, "--yes", "--skip-preview", "--non-interactive")
    assert _inspected(".HostConfig.Memory") == memory
    assert lab.up()["check"][0]["ok"]
    print("memory changed by hand: pulumi up put back", memory)

    lab.write(gateway={"kind": "envoy"})
    fourth = lab.up()
    assert [hop["name"] for hop in fourth["check"][0]["hops"] if hop["ok"]] == [
        "docker", "container", "gateway", "/v1/models", "chat", "streaming",
    ]  # fmt: skip
    print("behind the gateway:", fourth["summary"], fourth["seconds"], "s:", fourth["check"][0]["text"])
    verified = lab("verify", STACK, "--json", codes=(0, 1))
    assert [outcome for outcome in verified["outcomes"] if outcome["finding"]] == []
    print(verified["probes"], "probes, 0 findings")
    _compared()
    assert set(lab.up()["summary"]) == {"same"}

    lab("down", STACK, "--yes")
    assert _left() == []


def _compared() -> None:
    """Seconds to the first token of vLLM, through Envoy and at the container's own address, by turns."""
    address = _inspected(".NetworkSettings.Networks")
    (bridge,) = [network["IPAddress"] for network in json.loads(address).values()]
    trust = ssl.create_default_context(cafile=str(gateway_files.authority(STACK)))
    places = {
        "through Envoy": ("https://127.0.0.1:8443", gateway_files.keys(STACK).of("lab"), trust),
        "direct": (f"http://{bridge}:8000", gateway_files.engine_key(STACK), True),
    }
    found: dict[str, list[float]] = {name: [] for name in places}
    body = {"model": MODEL, "stream": True, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}
    for _ in range(_ROUNDS):
        for name, (url, key, verify) in places.items():
            with httpx.Client(base_url=url, verify=verify, trust_env=False, timeout=120) as client:
                headers = {"authorization": f"Bearer {key}"}
                client.get("/v1/models", headers=headers).raise_for_status()  # the connection is there
                begin = time.perf_counter()
                with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
                    assert answer.status_code == 200
                    pieces = answer.iter_raw()
                    next(pieces)
                    found[name].append(time.perf_counter() - begin)
                    assert list(pieces)  # the rest, so that the next question finds the engine idle
    for name, seconds in found.items():
        middle, worst = statistics.median(seconds) * 1e3, max(seconds) * 1e3
        print(f"first token {name}: median {middle:.1f} ms, worst {worst:.1f} ms, n={_ROUNDS}")
