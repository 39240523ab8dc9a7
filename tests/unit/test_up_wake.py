"""What `lab up` does before Pulumi runs, for a cluster that it has made before."""

from __future__ import annotations

from typing import Any

import pytest

from cli.commands import up
from cli.deployed import deployed
from host.drivers import epoch
from host.system import state
from tests.support.stacks import ROOT


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"state": "running", "problems": {}}, 3),
        ({"state": "degraded", "problems": {"profile": "the node does not see the GPU"}}, 4),
        ({"state": "unknown", "problems": {"status": "Docker does not run"}}, 3),
        ({"state": "stopped"}, 3),  # its API server does not answer, which raises the epoch by itself
        ({}, 3),
    ],
)
def test_a_degraded_cluster_runs_its_bootstrap_again(
    said: dict[str, Any], wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "cluster_status", lambda _target: said)
    state.record("rtx2060", 3, "ours")
    up._wake(deployed(ROOT, "rtx2060"))
    assert (state.epoch("rtx2060"), epoch.recorded_uid("rtx2060")) == (wanted, "ours")


def test_a_stack_without_a_cluster_is_not_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "cluster_status", lambda _target: pytest.fail("asked"))
    up._wake(deployed(ROOT, "rtx2060"))
    assert state.epoch("rtx2060") == 0
