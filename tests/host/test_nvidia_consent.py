"""Consent: without it nothing on the machine changes, and a restart that stops containers is asked about by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli import consent
from cli.deployed import Deployed, deployed
from host.drivers.nvidia import driver
from host.system.command import CommandFailed
from stacks.errors import LabError
from tests.host.test_nvidia_states import STATES, environment, not_registered
from tests.support.gpu_machine import GpuMachine, attach
from tests.support.stacks import ROOT

DB = {"docker": {"containers": ["db", "web"]}}


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GpuMachine:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    made = not_registered(tmp_path / "machine")
    monkeypatch.setattr(driver, "ROOT", made.root)
    attach(made, monkeypatch.setattr)
    return made


@pytest.fixture
def target(found: GpuMachine) -> Deployed:
    return deployed(ROOT, "rtx2060")


def test_without_a_yes_nothing_changes(found: GpuMachine, target: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    found.change(**DB)
    before = found.snapshot()
    with pytest.raises(LabError, match="nobody can be asked"):
        consent.require_consent(target, yes=False)
    assert found.snapshot() == before
    assert not target.folder.exists()
    said = " ".join(capsys.readouterr().err.split())
    assert "stops these running containers: db, web" in said
    for change in target.plan.host_changes:
        assert " ".join(change.what.split()) in said


def test_a_yes_lets_these_containers_stop_and_no_others(found: GpuMachine, target: Deployed) -> None:
    assert target.plan.nvidia is not None and target.plan.nvidia.host is not None
    found.change(**DB)
    given = consent.require_consent(target, yes=True)
    assert given.stops == ("db", "web")
    consent.accept(target, given)
    assert json.loads((target.folder / "accepted-restart").read_text()) == ["db", "web"]
    found.change(docker={"containers": ["db", "late", "web"]})
    wanted = {**environment(target.plan.nvidia.host), "LAB_STACK": target.stack}
    with pytest.raises(LabError, match="stops the running containers late: nothing was changed"):
        driver.ensure(wanted)
    found.change(docker={"containers": ["db", "web"]})
    driver.ensure(wanted)
    assert found.state["docker"]["containers"] == []
    assert "nvidia" in found.state["docker"]["runtimes"]


def test_accepted_changes_are_not_asked_about_again_unless_a_container_would_stop(
    found: GpuMachine, target: Deployed
) -> None:
    consent.accept(target, consent.require_consent(target, yes=True))
    assert consent.require_consent(target, yes=False).stops == ()  # no question: nothing runs
    found.change(**DB)
    with pytest.raises(LabError, match="nobody can be asked"):
        consent.require_consent(target, yes=False)


@pytest.mark.parametrize("name", ["all right", "no CDI specification", "an older toolkit without links"])
def test_no_container_is_named_where_no_restart_is_due(
    name: str, tmp_path: Path, target: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = STATES[name](tmp_path / "other")
    other.change(**DB)
    monkeypatch.setattr(driver, "ROOT", other.root)
    monkeypatch.setattr("host.system.command.run", other.run)
    assert consent.require_consent(target, yes=True).stops == ()


def test_a_machine_that_cannot_be_set_up_names_none(found: GpuMachine, target: Deployed) -> None:
    found.change(driver=None, **DB)
    assert consent.require_consent(target, yes=True).stops == ()


def test_a_plan_looks_at_no_machine(
    found: GpuMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def looked(*_: object, **__: object) -> None:
        raise CommandFailed(["looked"], 1, "")

    monkeypatch.setattr("host.system.command.run", looked)
    plan = deployed(ROOT, "rtx2060").plan
    from cli.output import console
    from cli.render.host_changes import print_host_changes

    print_host_changes(console(), plan)
    assert "daemon.json" in capsys.readouterr().out
    assert found.points == 0
