"""The embedded engine against recordings of the real Pulumi CLI for the shipped stacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.record_cli import RECORDINGS, record, versions
from tests.support.stacks import STACKS, preview


def _recorded(folder: Path, stack: str, name: str) -> Any:
    return json.loads((folder / stack / f"{name}.json").read_text())


def _comparable(step: dict[str, Any]) -> dict[str, Any]:
    """A step with its unordered lists sorted."""
    state = dict(step.get("newState") or {})
    if "dependencies" in state:
        state["dependencies"] = sorted(state["dependencies"])
    state["propertyDependencies"] = {k: sorted(v or []) for k, v in state.get("propertyDependencies", {}).items()}
    return {"op": step["op"], "provider": step.get("provider", ""), "state": state}


def test_the_recording_belongs_to_the_pinned_sdk() -> None:
    meta = json.loads((RECORDINGS / "meta.json").read_text())
    assert {k: meta[k] for k in versions()} == versions(), "record anew: python -m tests.support.record_cli"


@pytest.mark.parametrize("stack", STACKS)
def test_every_recorded_resource_is_previewed_alike(stack: str) -> None:
    theirs = {s["urn"]: _comparable(s) for s in _recorded(RECORDINGS, stack, "preview")["steps"]}
    ours = {s["urn"]: _comparable(s) for s in preview(stack).to_json()["steps"]}
    assert sorted(ours) == sorted(theirs)
    for urn, step in theirs.items():
        assert ours[urn] == step, urn


@pytest.mark.parametrize("stack", STACKS)
def test_the_recorded_summary_is_ours(stack: str) -> None:
    assert preview(stack).to_json()["changeSummary"] == _recorded(RECORDINGS, stack, "preview")["changeSummary"]


@pytest.mark.engine
@pytest.mark.skipif(not shutil.which("pulumi"), reason="the real Pulumi CLI is not on PATH")
def test_the_real_cli_still_says_what_was_recorded(tmp_path: Path) -> None:
    record(tmp_path)
    for stack in STACKS:
        for name in ("config", "preview"):
            fresh, old = _recorded(tmp_path, stack, name), _recorded(RECORDINGS, stack, name)
            if name == "preview":
                fresh, old = ({s["urn"]: _comparable(s) for s in document["steps"]} for document in (fresh, old))
            assert fresh == old, (stack, name)
