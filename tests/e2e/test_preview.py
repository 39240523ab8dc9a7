"""Pulumi's own preview of every stack file, held against the program under mocks and against the plan."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cli.deployed import get_pulumi
from cli.pulumi.workspace import scratch
from components.rendered import releases
from stacks.errors import LabError
from stacks.settings import PROJECT
from stacks.settings.stack_file import read_stack
from tests.support.stacks import ROOT, STACKS, plan, preview
from tests.unit.test_stack_file import ALIKE

pytestmark = pytest.mark.e2e

WITHOUT_CHARTS = [stack for stack in STACKS if not releases(plan(stack))]
"""Pulumi reads a release's chart from its registry in a preview, and puts figures of its own into the inputs."""

_OF_THE_SDK = ("__internal", "version")  # what the SDK adds to an input map for the engine alone


def _lab(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [ROOT / ".venv/bin/python", "-P", "-m", "cli", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2400,
        check=False,
    )


@pytest.fixture(scope="module")
def previews() -> dict[str, dict]:
    """One real preview a stack, made when it is first asked for."""
    return {}


def _preview(previews: dict[str, dict], stack: str) -> dict:
    if stack not in previews:
        before = (ROOT / f"Pulumi.{stack}.yaml").read_bytes()
        done = _lab("preview", stack, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert (ROOT / f"Pulumi.{stack}.yaml").read_bytes() == before
        previews[stack] = json.loads(done.stdout)
    return previews[stack]


@pytest.mark.parametrize("stack", WITHOUT_CHARTS)
def test_the_mocked_program_registers_what_pulumi_previews(previews, stack):
    real = {
        s["urn"]: s
        for s in _preview(previews, stack)["preview"]["steps"]
        if not s["urn"].split("::")[2].startswith("pulumi:providers:command")
    }
    mocked = {s.urn: s for s in preview(stack).steps}
    assert sorted(real) == sorted(mocked)
    for urn, step in mocked.items():
        assert real[urn]["op"] == "create"
        assert (real[urn]["type"], real[urn]["parent"]) == (step.type, step.parent), urn
        assert real[urn]["provider"].rpartition("::")[0] == step.provider.rpartition("::")[0] or not step.provider, urn
        if step.custom:
            assert _plain(real[urn]["inputs"]) == _plain(dict(step.inputs)), urn


@pytest.mark.parametrize("stack", WITHOUT_CHARTS)
def test_preview_and_plan_make_the_same_decisions(previews, stack):
    assert _preview(previews, stack)["plan"] == json.loads(_lab("plan", stack, "--json").stdout)
    assert _preview(previews, stack)["plan"] == json.loads(plan(stack).to_json())


@pytest.mark.parametrize("stack", STACKS)
def test_lab_reads_a_stack_file_as_pulumi_does(tmp_path, stack):
    cli = get_pulumi(plan(stack))
    with scratch(ROOT, stack, cli) as workspace:
        recorded = json.loads(
            workspace.call("config", "--json", "--stack", stack, "--config-file", str(workspace.config))
        )
    ours = read_stack(ROOT, stack)
    assert sorted(ours.flat) == sorted(recorded)
    assert ours.secret_keys == {key for key, entry in recorded.items() if entry["secret"]}
    own = {f"{PROJECT}:{key}": value for key, value in ours.own.items()}
    theirs = {
        key: entry.get("objectValue", entry["value"])
        for key, entry in recorded.items()
        if key.startswith(f"{PROJECT}:")
    }
    assert own == theirs


def test_pulumi_reads_every_word_that_lab_reads_as_lab_does():
    stack = STACKS[0]
    with scratch(ROOT, stack, get_pulumi(plan(stack))) as workspace:
        words = [f"    k{number}: {text}\n" for number, (text, _) in enumerate(ALIKE)]
        workspace.config.write_text(f"config:\n  {PROJECT}:machine:\n{''.join(words)}")
        said = json.loads(workspace.call("config", "--json", "--stack", stack, "--config-file", str(workspace.config)))
    theirs = said[f"{PROJECT}:machine"]["objectValue"]
    assert sorted((key, repr(value)) for key, value in theirs.items()) == sorted(
        (f"k{number}", repr(value)) for number, (_, value) in enumerate(ALIKE)
    )


def test_a_state_whose_side_file_a_killed_run_left_empty_is_read_all_the_same(monkeypatch):
    stack = STACKS[0]
    with scratch(ROOT, stack, get_pulumi(plan(stack))) as workspace:
        monkeypatch.setenv("PULUMI_BACKEND_URL", workspace.backend)
        place = Path(workspace.backend.removeprefix("file://")) / ".pulumi/stacks" / PROJECT
        (place / f"{stack}.json.attrs").write_text("")
        with pytest.raises(LabError, match="failed to load checkpoint: EOF"):
            workspace.call("stack", "export", "--stack", stack)
        assert "manifest" in workspace.deployment()
        assert workspace.call("stack", "export", "--stack", stack)


_UNITS = {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def _plain(value):
    """Inputs without what the SDK adds, and quantities as numbers: the provider writes 1024Gi as 1Ti."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in _OF_THE_SDK}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    found = re.fullmatch(r"(\d+)(m|Ki|Mi|Gi|Ti)?", value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2] or ""] if found else value
