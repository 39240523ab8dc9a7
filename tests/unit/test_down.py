"""`lab down --purge` removes what the lab made for this stack, and leaves the rest alone."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import consent
from cli.commands import down
from cli.deployed import Deployed
from host.artifacts import models
from host.artifacts.models.place import Place
from host.drivers import ownership
from host.drivers.k3s import driver as k3s
from host.drivers.k3s.machine import MARK
from host.drivers.ownership import Mark
from host.system import command, state
from stacks import names
from stacks.errors import HostError, LabError
from tests.conftest import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose one stack keeps its weights below a temporary folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    document = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())
    document["config"]["local-ai-lab:modelCache"] = {"path": str(tmp_path / "weights")}
    (folder / "Pulumi.dev.yaml").write_text(yaml.safe_dump(document))
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    return folder


def _weights(cache: Path, name: str) -> Path:
    place = Place(cache, name)
    place.begin()
    result = place.work / "result"
    result.mkdir()
    (result / "model.safetensors").write_text("weights")
    place.put(result)
    return place.folder


def test_nothing_recorded_says_so(project: Path) -> None:
    with pytest.raises(LabError, match="nothing of stack dev is recorded"):
        down.run(project, "dev", yes=True, purge=False, as_json=False)


def test_a_minikube_profile_whose_state_was_lost_is_removed_without_asking_for_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Pulumi.yaml", "Pulumi.rtx2060.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    ours = ownership.this_stack("rtx2060", "minikube", "local-ai-lab")
    path = ownership.mark_file("minikube", "local-ai-lab")
    rights, removed = [], []

    @contextlib.contextmanager
    def root_rights(*, needed: bool) -> Iterator[None]:
        rights.append(needed)
        yield

    def remove(target: Deployed) -> None:
        removed.append(target.plan.cluster.name)
        path.unlink()

    monkeypatch.setattr(down, "root_rights", root_rights)
    monkeypatch.setattr(down, "_remove_cluster", remove)
    ownership.write(path, Mark(replace(ours, stack="other")))
    with pytest.raises(LabError, match="nothing of stack rtx2060 is recorded"):
        down.run(tmp_path, "rtx2060", yes=True, purge=False, as_json=False)
    ownership.write(path, Mark(ours))
    down.run(tmp_path, "rtx2060", yes=True, purge=False, as_json=False)
    assert (removed, rights) == (["local-ai-lab"], [False])


def _embedded(_root: Path) -> None:
    (state.folder("other") / "cluster").mkdir(parents=True)


def _minikube(_root: Path) -> None:
    ownership.write(ownership.mark_file("minikube", "box"), Mark(ownership.this_stack("other", "minikube", "box")))


def _k3s(root: Path) -> None:
    state.folder("other").mkdir(parents=True)
    ownership.write(root / MARK[1:], Mark(ownership.this_stack("other", "k3s", "node")))


def _docker(_root: Path) -> None:
    state.folder("other").mkdir(parents=True)
    (state.folder("other") / "compose.yaml").write_text("")


def _existing(_root: Path) -> None:
    state.record("other", 0, "their cluster's UID")
    Path(names.kubeconfig("other")).expanduser().write_text("")


@pytest.mark.parametrize("claim", [_embedded, _minikube, _k3s, _docker, _existing])
def test_a_purge_is_refused_while_another_stack_uses_the_caches(
    claim: Callable[[Path], None], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(k3s, "ROOT", tmp_path / "root")
    claim(tmp_path / "root")
    caches = Path("~/.cache/local-ai-lab").expanduser()
    caches.mkdir(parents=True)
    with pytest.raises(LabError, match="in use by other"):
        down.run(project, "dev", yes=True, purge=True, as_json=False)
    assert caches.exists()


def test_a_purge_removes_the_stacks_weights_and_keeps_other_peoples(project: Path, tmp_path: Path) -> None:
    cache = tmp_path / "weights"
    ours, theirs = _weights(cache, "google-gemma-3-270m-packages"), cache / "mine"
    theirs.mkdir()
    (theirs / "model.safetensors").write_text("precious")
    down.run(project, "dev", yes=True, purge=True, as_json=False)
    assert not ours.exists()
    assert (theirs / "model.safetensors").read_text() == "precious"


def test_a_purge_stops_at_files_that_the_lab_did_not_put_among_its_weights(tmp_path: Path) -> None:
    ours = _weights(tmp_path, "gemma")
    (ours / "notes.txt").write_text("mine")
    with pytest.raises(HostError, match=r"notes\.txt"):
        models.purge(tmp_path, ["gemma"])
    assert (ours / "model.safetensors").exists()


def test_a_purge_of_another_users_weights_is_refused_before_the_stack_is_touched(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _weights(tmp_path / "weights", "google-gemma-3-270m-packages")
    (state.folder("dev") / "cluster").mkdir(parents=True)
    monkeypatch.setattr(models.os, "access", lambda path, _mode: path != ours)  # root may write everywhere
    os.chown(ours, 4242, 4242) if os.geteuid() == 0 else None
    with pytest.raises(HostError, match="belongs to user 4242" if os.geteuid() == 0 else "belongs to"):
        down.run(project, "dev", yes=True, purge=True, as_json=False)
    assert ours.exists()
    assert (state.folder("dev") / "cluster").exists()


def test_a_purge_in_another_users_model_cache_is_refused_before_the_stack_is_touched(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "weights"
    ours = _weights(cache, "google-gemma-3-270m-packages")
    monkeypatch.setattr(models.os, "access", lambda path, _mode: path != cache)
    with pytest.raises(HostError, match=f"{cache} belongs to"):
        down.run(project, "dev", yes=True, purge=True, as_json=False)
    assert (ours / "model.safetensors").exists()


def test_a_purge_without_root_ends_before_anything_is_removed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = _weights(tmp_path / "weights", "google-gemma-3-270m-packages")
    caches = Path("~/.cache/local-ai-lab").expanduser()
    caches.mkdir(parents=True)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(command, "can_be_root", lambda: False)
    with pytest.raises(LabError, match="root is needed") as raised:
        down.run(project, "dev", yes=True, purge=True, as_json=False)
    assert raised.value.exit_code == 2
    assert ours.exists() and caches.exists()


def test_nobody_to_ask_is_no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123
    with pytest.raises(LabError) as raised:
        consent.ask("Sure?", yes=False, remedy="./lab down dev --yes")
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe"])
def test_only_yes_is_consent(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self, *_: Any) -> str:
            return answer + "\n"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda *_: answer)
    with pytest.raises(LabError, match="nothing was changed"):
        consent.ask("Sure?", yes=False, remedy="")
