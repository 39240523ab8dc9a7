"""What the plan of a K3s stack says of K3s itself: docs.k3s.io, configuration file and agent flags."""

from __future__ import annotations

from typing import Any

import yaml

from host.artifacts import releases
from stacks.plan import K3sPlan
from tests.support.stacks import plan


def _k3s(**cluster: Any) -> K3sPlan:
    def edit(own: dict[str, Any]) -> None:
        own["cluster"] |= cluster

    found = plan("rtx4060", edit).cluster
    assert isinstance(found, K3sPlan)
    return found


def test_the_configuration_is_whole_and_lists_every_eviction_signal() -> None:
    assert yaml.safe_load(_k3s().config) == {
        "node-name": "local-ai-lab-rtx4060",
        "write-kubeconfig-mode": "0600",
        "default-runtime": "nvidia",
        "secrets-encryption": True,
        "kubelet-arg": [
            "eviction-hard=imagefs.available<5%,imagefs.inodesFree<5%,nodefs.available<5%,nodefs.inodesFree<5%,"
            "memory.available<200Mi"
        ],
        "kube-proxy-arg": ["nodeport-addresses=127.0.0.0/8"],
        "disable": ["traefik", "servicelb", "metrics-server"],
    }


def test_parts_that_are_kept_are_not_disabled() -> None:
    assert yaml.safe_load(_k3s(keep=["traefik", "servicelb"]).config)["disable"] == ["metrics-server"]
    assert "disable" not in yaml.safe_load(_k3s(keep=["traefik", "servicelb", "metrics-server"]).config)


def test_the_planned_release_is_recorded_for_both_architectures() -> None:
    release = releases.recorded()["k3s"][_k3s().kubernetes]
    assert all(file.sha256 for file in (*release.amd64, *release.arm64))
    assert len(release.amd64) == len(release.arm64) == 1
