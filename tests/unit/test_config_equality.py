"""`lab` and Pulumi read the same map out of a stack file: ours against what the real CLI was recorded to say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stacks.settings import PROJECT
from stacks.stack_file import read_stack
from tests.support.golden import DATA
from tests.support.stacks import ROOT, STACKS


def _recorded(stack: str) -> dict[str, dict[str, Any]]:
    path = DATA / "recordings" / stack / "config.json"
    if not path.exists():
        pytest.skip(f"no recording of `pulumi config --json` for {stack}; python -m tests.support.record_cli makes one")
    recorded: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return recorded


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@pytest.mark.parametrize("stack", STACKS)
def test_lab_reads_the_keys_that_pulumi_reads(stack: str) -> None:
    assert sorted(read_stack(ROOT, stack).flat) == sorted(_recorded(stack))


@pytest.mark.parametrize("stack", STACKS)
def test_lab_reads_the_values_that_pulumi_reads(stack: str) -> None:
    ours = {key: _parsed(text) for key, text in read_stack(ROOT, stack).flat.items()}
    assert ours == {key: _parsed(entry["value"]) for key, entry in _recorded(stack).items()}


@pytest.mark.parametrize("stack", STACKS)
def test_what_settings_are_made_from_is_what_pulumi_parses(stack: str) -> None:
    own = {f"{PROJECT}:{key}": value for key, value in read_stack(ROOT, stack).own.items()}
    theirs = {key: entry.get("objectValue", entry["value"]) for key, entry in _recorded(stack).items() if key.startswith(f"{PROJECT}:")}
    assert own == theirs


@pytest.mark.parametrize("stack", STACKS)
def test_lab_takes_for_secret_what_pulumi_takes_for_secret(stack: str) -> None:
    assert read_stack(ROOT, stack).secret_keys == {key for key, entry in _recorded(stack).items() if entry["secret"]}
