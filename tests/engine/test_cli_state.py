"""A state that the real CLI left (3.259, Kubernetes 1.36.3, every kind that the lab emits), used by the embedded engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import Program, Result, SecretsManager, StackConfig, down, up
from tests.support.fake_apiserver import FakeServer, serving, write_kubeconfig

DATA = Path(__file__).with_name("data")
CONFIG = {"kubeconfig": "kubeconfig", "greeting": "ciao", "extra": "yes", "image": "lab.local/pause:72b304e7b66a"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    shutil.copy(DATA / "kinds_program.txt", tmp_path / "__main__.py")
    shutil.copy(DATA / "kinds_state.json", tmp_path / "state.json")
    with serving() as fake:
        fake.mark()
        write_kubeconfig(tmp_path / "kubeconfig", fake.url)
        yield fake


def _up(folder: Path, **changes: str) -> Result:
    config = StackConfig({f"kinds:{key}": value for key, value in {**CONFIG, **changes}.items()})
    program = Program("kinds", "test", folder, folder / "__main__.py")
    return up(program, config, folder / "state.json", secrets=SecretsManager("x"), embedded=True)


def test_nothing_changes_nothing_runs_and_nothing_is_sent(tmp_path: Path, server: FakeServer) -> None:
    result = _up(tmp_path)
    assert (result.ok, result.summary) == (True, {"same": 17})
    assert not (tmp_path / "boot.log").exists()
    assert [request for request in server.requests if request.writes] == []


def test_a_changed_secret_updates_its_object_only(tmp_path: Path, server: FakeServer) -> None:
    server.put("/api/v1/namespaces/kinds-try", {"apiVersion": "v1", "kind": "Namespace", "metadata": {}})
    result = _up(tmp_path, api="another")
    assert result.summary == {"same": 16, "update": 1}
    (write,) = [request for request in server.requests if request.writes]
    assert write.path == "/api/v1/namespaces/kinds-try/secrets/key"
    assert write.query["fieldManager"].startswith("pulumi-kubernetes-")
    assert write.body["content"]["data"] == {"key": "YW5vdGhlcg=="}


def test_it_is_taken_down_with_its_host(tmp_path: Path, server: FakeServer) -> None:
    result = down(tmp_path / "state.json", tmp_path, secrets=SecretsManager("x"), embedded=True)
    assert (result.ok, result.summary) == (True, {"delete": 17})
    assert (tmp_path / "boot.log").read_text() == "d\n"
    assert server.requests == []
