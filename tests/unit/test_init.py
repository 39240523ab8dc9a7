"""`lab init` as somebody types it, on machines of public reports."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from cli.commands.init import Wanted, run
from stacks.errors import LabError
from stacks.settings.stack_file import read_stack
from tests.support.recorded_machine import RecordedMachine

LAPTOP = "laptop-rtx-3060"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    def type_in(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", _Terminal("".join(f"{line}\n" for line in lines)))

    return type_in


def _run(root: Path, wanted: Wanted, name: str = LAPTOP, *, as_json: bool = False) -> None:
    run(root, wanted, as_json=as_json, machine=RecordedMachine(name))


def test_with_yes_the_file_is_written_and_its_plan_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path, Wanted("mine", yes=True), "busy-rtx-3090")
    said = capsys.readouterr().out
    assert said.startswith("mine  plan ")
    assert "card 0: NVIDIA GeForce RTX 3090" in said
    assert "wrote Pulumi.mine.yaml" in said
    assert "  note       other programs hold 14.7 GiB" in said
    assert read_stack(tmp_path, "mine").own["machine"]["gpu"] == "rtx-3090"


def test_without_a_name_the_file_is_called_after_the_card(tmp_path: Path) -> None:
    _run(tmp_path, Wanted(yes=True))
    assert [path.name for path in tmp_path.iterdir()] == ["Pulumi.rtx-3060-laptop.yaml"]


def test_where_nobody_can_be_asked_it_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="nobody can be asked here") as caught:
        _run(tmp_path, Wanted("mine"))
    assert (caught.value.exit_code, caught.value.remedy) == (2, "./lab init mine --yes")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.mine.yaml"
    path.write_text("config: {}\n")
    with pytest.raises(LabError, match=r"Pulumi.mine.yaml is there already") as caught:
        _run(tmp_path, Wanted("mine", yes=True))
    assert (caught.value.exit_code, path.read_text()) == (2, "config: {}\n")


def test_a_person_is_asked_before_a_file_is_replaced(tmp_path: Path, typed) -> None:
    path = tmp_path / "Pulumi.mine.yaml"
    path.write_text("config: {}\n")
    typed("n")
    with pytest.raises(LabError, match="is there already"):
        _run(tmp_path, Wanted("mine"))
    typed("y", "", "")
    _run(tmp_path, Wanted("mine"))
    assert "rtx-3060-laptop" in path.read_text()


def test_force_replaces_it_and_keeps_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text(
        "encryptionsalt: v1:abc=\nconfig:\n  local-ai-lab:machine: {kind: cpu}\n"
        "  local-ai-lab:apiKey:\n    secure: v1:def:ghi=\n"
    )
    _run(tmp_path, Wanted("mine", yes=True, force=True))
    config = read_stack(tmp_path, "mine")
    assert (config.salt, dict(config.sealed)) == ("v1:abc=", {"local-ai-lab:apiKey": "v1:def:ghi="})
    assert config.own["machine"]["gpu"] == "rtx-3060-laptop"


def test_a_person_chooses_the_model(tmp_path: Path, typed, capsys: pytest.CaptureFixture[str]) -> None:
    typed("9", "2")
    _run(tmp_path, Wanted("mine", driver="minikube"))
    asked = capsys.readouterr().err
    assert asked.startswith("This machine: NVIDIA GeForce RTX 3060 Laptop GPU, 15 GiB of RAM, 16 processors, Linux")
    assert "1. qwen3-4b-awq, 8192 tokens, 4 requests at once" in asked
    assert "type a number from 1 to 3" in asked
    assert read_stack(tmp_path, "mine").own["models"][0]["model"] == "phi-3-mini-4k-instruct-awq"


def test_three_questions_are_the_most(tmp_path: Path, typed, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Pulumi.mine.yaml").write_text("config: {}\n")
    typed("y", *[""] * 9)
    _run(tmp_path, Wanted("mine"))
    asked = capsys.readouterr().err
    assert 2 <= asked.count("[y/N] ") + asked.count("[1] ") <= 3


def test_for_machines_it_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run(tmp_path, Wanted("mine", driver="minikube", yes=True), "wsl2-rtx-2060", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {
        "stack", "file", "machine", "config", "driver", "models", "notes", "beforeUp", "plan",
    }  # fmt: skip
    assert document["config"]["models"][0] == {
        "name": "qwen3-4b-awq", "model": "qwen3-4b-awq", "contextTokens": 8192, "concurrentRequests": 4,
    }  # fmt: skip
    assert document["plan"]["stack"] == "mine"
    assert len(document["beforeUp"]) == 2


def test_a_name_that_no_stack_may_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is no name of a stack"):
        _run(tmp_path, Wanted("a b", yes=True))
