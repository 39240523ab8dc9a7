"""Why pods of a stack wait, and what `lab status` prints of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from cli.commands import status
from probes import rollout
from probes.kubernetes_api import KubernetesApi
from probes.waiting import waiting
from stacks.errors import CheckFailed
from tests.support.stacks import plan

PLAN = plan("rtx2060-shared")
SPACE = PLAN.kubernetes.namespace
NODES, PODS = "/api/v1/nodes", "/api/v1/pods"
OWN, EVENTS = f"/api/v1/namespaces/{SPACE}/pods", f"/api/v1/namespaces/{SPACE}/events"
SHORT = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def node(gpus: int) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}


def pod(name: str, space: str = SPACE, *, runs: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True"}]
    if not runs:
        conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": SHORT}]
    containers = [{"name": "engine", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]
    return {
        "metadata": {"name": name, "namespace": space},
        "spec": {"containers": containers, **({"nodeName": "n"} if runs else {})},
        "status": {"phase": "Running" if runs else "Pending", "conditions": conditions},
    }


def api(answers: Mapping[str, list[dict[str, Any]]]) -> KubernetesApi:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path not in answers:
            return httpx.Response(403)
        return httpx.Response(200, json={"items": answers[request.url.path]})

    return KubernetesApi(httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer)))


def of(gpus: int, pods: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    own = [p for p in pods if p["metadata"]["namespace"] == SPACE]
    return {NODES: [node(gpus)], PODS: pods, OWN: own, EVENTS: []}


LAST = pod("phi-3-mini-engine-1", runs=False)

# offered GPUs, pods that run -> what is said, what is advised
WAITS: dict[str, tuple[int, list[dict[str, Any]], str, str]] = {
    "the plugin does not share": (
        1, [pod("phi-3-mini")],
        "the cluster offers 1, and 1 is taken by phi-3-mini", "./lab doctor rtx2060-shared looks at the device plugin",
    ),
    "somebody else has one": (
        2, [pod("phi-3-mini"), pod("notebook", "people")],
        "2 are taken by phi-3-mini, people/notebook", "stop what the stack does not know: people/notebook",
    ),
    "more engines than planned": (
        2, [pod("phi-3-mini"), pod("old")],
        "2 are taken by old, phi-3-mini", "more engines run than the plan has: ./lab refresh rtx2060-shared",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WAITS)
def test_a_pod_without_a_gpu_is_told_what_the_plan_counts_on_and_who_has_it(case: str) -> None:
    gpus, running, words, remedy = WAITS[case]
    (found,) = waiting(api(of(gpus, [*running, LAST])), PLAN)
    assert found.pod == "phi-3-mini-engine-1"
    start = "waits for a GPU: the plan counts on 2 nvidia.com/gpu (1 card, each offered 2 times by time-slicing), "
    assert found.problem.what.startswith(start) and words in found.problem.what
    assert found.problem.remedy.startswith(remedy)
    assert SHORT in found.problem.evidence


def test_a_pod_that_ended_holds_no_gpu_and_one_that_goes_is_left_out() -> None:
    ended = pod("job", "people")
    ended["status"]["phase"] = "Succeeded"
    going = pod("old", runs=False)
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    (found,) = waiting(api(of(2, [ended, going, pod("phi-3-mini"), LAST])), PLAN)
    assert "people/job" not in found.problem.what and "1 is taken by phi-3-mini" in found.problem.what


def test_who_may_see_one_namespace_only_is_told_what_the_scheduler_says() -> None:
    (found,) = waiting(api({OWN: [LAST], EVENTS: []}), PLAN)
    assert found.problem.what == "no GPU is free: other pods have them, or the device plugin offers none"


def test_pods_that_serve_are_not_listed_and_a_cluster_that_says_nothing_is_an_error() -> None:
    assert waiting(api(of(2, [pod("phi-3-mini")])), PLAN) == []
    with pytest.raises(CheckFailed, match="cannot be asked"):
        waiting(api({}), PLAN)


def _status(monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, Any], *, as_json: bool) -> None:
    target = SimpleNamespace(
        network_policies="",
        plan=PLAN,
        stack=PLAN.stack,
        require_deployable=lambda: None,
        recorded=lambda: True,
        root=None,
    )
    monkeypatch.setattr(status, "deployed", lambda *_: target)
    monkeypatch.setattr(status, "cluster_status", lambda _target: {"state": "running"})
    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", lambda *_, **__: api(answers))
    status.run(None, PLAN.stack, as_json=as_json)  # type: ignore[arg-type]  (nothing is read from the folder)


def test_status_says_which_pod_waits_and_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _status(monkeypatch, of(1, [pod("phi-3-mini"), LAST]), as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "pod phi-3-mini-engine-1 waits for a GPU: the plan counts on 2 nvidia.com/gpu" in said
    assert f"the cluster says: Unschedulable: {SHORT}" in said and "./lab doctor rtx2060-shared" in said
    _status(monkeypatch, of(1, [pod("phi-3-mini"), LAST]), as_json=True)
    (found,) = json.loads(capsys.readouterr().out)["waiting"]
    assert found["pod"] == "phi-3-mini-engine-1" and not found["final"]


def test_status_of_a_cluster_that_cannot_be_asked_is_that_of_its_driver(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _status(monkeypatch, {}, as_json=True)
    assert json.loads(capsys.readouterr().out)["waiting"] == []


def _deployment(engine: int, available: int) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "m", "local-ai-lab/engine": str(engine)}
    return {
        "metadata": {
            "name": "m" if engine == 0 else f"m-engine-{engine}",
            "generation": 1,
            "annotations": {"deployment.kubernetes.io/revision": "1"},
        },
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available},
    }


@pytest.mark.parametrize(("available", "missing"), [((1, 1), ""), ((1, 0), "m-engine-1: 0 of 1 replicas available")])
def test_a_rollout_is_over_when_every_engine_of_a_shared_card_is_there(
    available: tuple[int, int], missing: str
) -> None:
    engines = [_deployment(n, ready) for n, ready in enumerate(available)]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/deployments/m"):
            return httpx.Response(200, json=engines[0])
        items = engines if request.url.path.endswith("/deployments") else []
        return httpx.Response(200, json={"items": items})

    found = KubernetesApi(httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer)))
    assert rollout.look(found, "space", "m")[0] == missing
