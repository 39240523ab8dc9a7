"""What the plan of an embedded cluster says of NetworkPolicies."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.errors import LabError
from stacks.plan import EmbeddedPlan, Plan, canonical
from stacks.settings import Settings
from tests.support.stacks import configuration, plan


def _plan(**cluster: Any) -> Plan:
    def edit(own: dict[str, Any]) -> None:
        own["cluster"] |= cluster
        own["machine"] |= {"memoryGiB": 16, "cpus": 4}

    return plan("dev", edit)


def _decisions(found: Plan) -> list[tuple[str, str, str]]:
    return [(d.value, d.kind, d.source) for d in found.decisions if d.name == "cluster.networkPolicy"]


def test_without_a_word_they_are_stored_and_the_plan_is_the_one_of_before() -> None:
    found = _plan()
    assert isinstance(found.cluster, EmbeddedPlan)
    assert _decisions(found) == [("stored, not enforced", "degraded", "the network of embedded")]
    assert "networkPolicies" not in canonical(found.cluster)
    assert found.digest == _plan(networkPolicies="stored").digest


def test_enforced_is_stated_with_the_program_and_nothing_degraded_is_left() -> None:
    found = _plan(networkPolicies="enforced")
    assert isinstance(found.cluster, EmbeddedPlan)
    assert _decisions(found) == [("enforced", "stated", "stack file")]
    assert found.cluster.network_policies == "v0.8.0"
    assert '"networkPolicies":"v0.8.0"' in canonical(found.cluster)
    (build,) = [change.what for change in found.host_changes if "etcd" in change.what]
    assert build.endswith("etcd v3.7.3, kube-network-policies v0.8.0 into the cache")
    assert found.digest != _plan().digest


def test_another_word_is_refused() -> None:
    own = configuration("dev", lambda it: it["cluster"].update(networkPolicies="off"))
    with pytest.raises(LabError, match="networkPolicies"):
        Settings.from_config(own, secret_keys=frozenset(), detected=None)
