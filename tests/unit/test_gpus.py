"""Too few GPUs: waited for as long as a device plugin takes to restart, then said with the cause."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from probes import __main__ as probes
from probes import gpus, inference_check
from probes.gpus import PLUGIN_SECONDS
from probes.kubernetes_api import KubernetesApi
from stacks.errors import CheckFailed

SPACE = "box"
DEADLINE = 400  # seconds that the Deployment itself would give


def pod(name: str, space: str = SPACE, *, placed: bool = True, asks: int = 1) -> dict[str, Any]:
    said = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    waits = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}]
    return {
        "metadata": {"name": name, "namespace": space, "labels": {"pod-template-hash": "h"}},
        "spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": str(asks)}}}],
                 **({"nodeName": "n"} if placed else {})},
        "status": {"phase": "Running" if placed else "Pending",
                   "conditions": [{"type": "Ready", "status": "True"}] if placed else waits},
    }  # fmt: skip


class World:
    """A cluster whose clock runs by what is slept, with one model `m` of `replicas` engines."""

    def __init__(self) -> None:
        self.now = 0.0
        self.offered, self.later, self.at = 0, 0, float("inf")
        self.pods: list[dict[str, Any]] = []
        self.replicas = 1

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        gpus_now = self.later if self.now >= self.at else self.offered
        node = {"metadata": {"name": "n"}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"nvidia.com/gpu": str(gpus_now)},
        }}  # fmt: skip
        template = {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}}
        deployment = {
            "metadata": {"name": "m", "generation": 1, "annotations": {"deployment.kubernetes.io/revision": "1"}},
            "spec": {"replicas": self.replicas, "progressDeadlineSeconds": DEADLINE, "template": template,
                     "selector": {"matchLabels": {"app": "m"}}},
            "status": {"observedGeneration": 1},
        }  # fmt: skip
        revision = {"annotations": {"deployment.kubernetes.io/revision": "1"}, "labels": {"pod-template-hash": "h"}}
        own = [p for p in self.pods if p["metadata"]["namespace"] == SPACE]
        lists = {
            "/api/v1/nodes": [node], "/api/v1/pods": self.pods, f"/api/v1/namespaces/{SPACE}/pods": own,
            f"/api/v1/namespaces/{SPACE}/events": [], f"/apis/apps/v1/namespaces/{SPACE}/deployments": [deployment],
            f"/apis/apps/v1/namespaces/{SPACE}/replicasets": [{"metadata": revision}],
        }  # fmt: skip
        if path.endswith("/deployments/m"):
            return httpx.Response(200, json=deployment)
        if path == "/version":
            return httpx.Response(200, json={"gitVersion": "v1.36.3"})
        return httpx.Response(200, json={"items": lists[path]} if path in lists else {})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    api = KubernetesApi(httpx.Client(base_url="http://api", transport=httpx.MockTransport(made.answer)))
    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", classmethod(lambda *_a, **_n: api))
    monkeypatch.setattr(gpus, "time", made)
    monkeypatch.setattr(inference_check.rollout, "time", made)
    for name, value in (("KUBECONFIG", "x"), ("NAMESPACE", SPACE), ("GPUS", "4"), ("STACK", "l40")):
        monkeypatch.setenv(f"LAB_{name}", value)
    return made


def test_gpus_that_come_while_the_plugin_restarts_are_waited_for(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.later, world.at = 4, 40.0
    world.pods = [pod(f"old-{n}") for n in range(4)]  # the stack's own pods of an older revision give theirs back
    assert probes.main(["allocatable_gpus"]) == 0
    assert 40 <= world.now < PLUGIN_SECONDS
    told = capsys.readouterr().out.splitlines()
    assert "the cluster offers 0: waiting for the device plugin" in told[0]
    assert told[-1] == "4 nvidia.com/gpu"


SHORT = {
    "a card is gone": (3, [], "ask for 4 nvidia.com/gpu, and the cluster offers 3", "./lab doctor l40"),
    "the plugin offers none": (0, [], "and the cluster offers 0", "./lab doctor l40"),
    "somebody else has two": (
        5, [pod("notebook", "people", asks=2), pod("waits", "people", placed=False)],
        "offers 5; 2 of them are taken by people/notebook", "stop people/notebook; then: ./lab up l40",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SHORT)
def test_gpus_that_do_not_come_end_the_wait_with_cause_and_remedy(
    case: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.offered, world.pods, what, remedy = SHORT[case]
    assert probes.main(["allocatable_gpus"]) == 1
    assert PLUGIN_SECONDS < world.now < PLUGIN_SECONDS + 10
    said = capsys.readouterr().err
    assert what in said
    assert remedy in said


def walk(world: World, **options: Any) -> str:
    """What a check that waits ends with."""
    found = inference_check.check("x", "m", "http://n/v1", namespace=SPACE, stack="l40", wait=lambda _: None, **options)
    assert found.failure
    assert found.hops[-1].name == "rollout"
    return str(found.failure)


def test_a_rollout_without_a_gpu_is_given_up_long_before_its_deadline(world: World) -> None:
    world.offered, world.pods, world.replicas = 1, [pod("m-1"), pod("m-2", placed=False)], 2
    said = walk(world)
    assert "ask for 2 nvidia.com/gpu, and the cluster offers 1" in said
    assert PLUGIN_SECONDS < world.now < PLUGIN_SECONDS + 60


def test_a_node_that_somebody_may_add_is_waited_for_until_the_deadline(world: World) -> None:
    world.pods = [pod("m-1", placed=False)]
    assert "no GPU is free" in walk(world, forward=True)
    assert world.now > DEADLINE


def test_a_rollout_that_waits_for_its_own_older_pods_is_not_given_up(world: World) -> None:
    world.offered, world.pods = 1, [pod("m-0"), pod("m-1", placed=False)]
    assert "no GPU is free" in walk(world)
    assert world.now > DEADLINE


def test_a_cluster_that_refuses_to_say_is_an_error() -> None:
    refusing = httpx.MockTransport(lambda _: httpx.Response(403))
    api = KubernetesApi(httpx.Client(base_url="http://api", transport=refusing))
    with pytest.raises(CheckFailed, match="cannot be read"):
        gpus.wait(api, SPACE, 1, lambda _: None, stack="l40")
