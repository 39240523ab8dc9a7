"""What changes K3s behind the plan's back, and what a removal takes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.drivers.k3s import decide, observe, teardown
from host.drivers.k3s.machine import Machine
from host.drivers.k3s.observe import Observed
from stacks.plan import K3sPlan
from tests.support.stacks import plan

SOUND = Observed(
    systemd=True, wsl=False, mark=None, inside=None, has=(), binary=False, version="", config=False, unit=False,
    service="inactive", enabled=False, toolkit=True, nvidia=None, template="", ready=False,
)  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    cluster = plan("rtx4060").cluster
    assert isinstance(cluster, K3sPlan)
    return Machine("rtx4060", cluster, tmp_path)


def test_all_that_a_removal_takes_away_is_somebody_elses_where_the_lab_did_not_make_it() -> None:
    assert {*teardown.FOLDERS, *teardown.FILES} <= set(observe.PLACES)


def test_a_drop_in_of_k3s_or_of_its_unit_is_refused_by_name(machine: Machine) -> None:
    assert decide.refusal(SOUND, machine) is None
    for place in ("/etc/rancher/k3s/config.yaml.d/90-x.yaml", "/etc/systemd/system/k3s.service.d/override.conf"):
        path = machine.at(place)
        path.parent.mkdir(parents=True)
        path.write_text("default-runtime: runc\n")
    seen = observe.look(machine, None).drop_ins
    assert len(seen) == 2
    found = decide.refusal(Observed(**{**vars(SOUND), "drop_ins": seen}), machine)
    assert found is not None
    assert "90-x.yaml" in found.reason
    assert "override.conf" in found.reason
