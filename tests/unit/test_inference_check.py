"""The inference check against stand-ins: every hop can break, and the first broken one is named with its cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from probes import inference_check, rollout
from probes.hops import Walk, table
from probes.kubernetes_api import KubernetesApi

ENDPOINT = "http://10.0.0.1:30080/v1"
NODE = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
POD = {
    "metadata": {"name": "m-1", "labels": {"pod-template-hash": "new"}},
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
DEPLOYMENT = {
    "metadata": {"name": "m", "generation": 2, "annotations": {"deployment.kubernetes.io/revision": "2"}},
    "spec": {"replicas": 1, "progressDeadlineSeconds": 60, "selector": {"matchLabels": {"app": "m"}}},
    "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
}
REPLICA_SETS = [
    {
        "metadata": {
            "labels": {"pod-template-hash": name},
            "annotations": {"deployment.kubernetes.io/revision": revision},
        }
    }
    for name, revision in (("old", "1"), ("new", "2"))
]
CRASHED = {
    "metadata": {"name": "m-1", "labels": {"pod-template-hash": "new"}},
    "status": {
        "phase": "Running",
        "containerStatuses": [
            {
                "restartCount": 4,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 1}},
            }
        ],
    },
}
LOG = (
    "ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
    "8.00 GiB\n"
)
SLICE = {"endpoints": [{"addresses": ["10.244.0.5"], "conditions": {"ready": True}}]}
STREAM = (
    'data: {"choices":[{"delta":{"content":"Par"}}]}\n\ndata: {"choices":[{"delta":{"content":"is"}}]}\n\ndata: '
    "[DONE]\n\n"
)


class Answers:
    """What the API server and the model server answer; tests break one thing."""

    def __init__(self) -> None:
        self.nodes, self.pods, self.slices = [NODE], [POD], [SLICE]
        self.deployments: list[dict[str, Any]] = [DEPLOYMENT]  # one after the other, the last one again and again
        self.ready = 200
        self.models: Any = {"data": [{"id": "m"}]}
        self.chat: Any = {"choices": [{"message": {"content": " Paris."}}], "usage": {"completion_tokens": 4}}
        self.stream = STREAM
        self.key: str | None = None
        self.status = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        lists = {"/api/v1/nodes": self.nodes, "/api/v1/namespaces/box/pods": self.pods}
        if path.endswith("/deployments/m"):
            found = self.deployments.pop(0) if len(self.deployments) > 1 else (self.deployments or [None])[0]
            return (
                httpx.Response(200, json=found)
                if found
                else httpx.Response(404, json={"kind": "Status", "status": "Failure"})
            )
        if path.endswith("/events"):
            return httpx.Response(200, json={"items": []})
        if path.endswith("/log"):
            assert request.url.params["previous"] == "true"
            return httpx.Response(200, text=LOG)
        if path.endswith("/replicasets"):
            return httpx.Response(200, json={"items": REPLICA_SETS})
        if path in lists or path.endswith("/endpointslices"):
            return httpx.Response(200, json={"items": lists.get(path, self.slices)})
        if path == "/readyz":
            return httpx.Response(self.ready, text="etcd failed")
        if path == "/version":
            return httpx.Response(200, json={"gitVersion": "v1.36.3"})
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return httpx.Response(401)
        if path == "/v1/models":
            return httpx.Response(self.status, json=self.models)
        if json.loads(request.content).get("stream"):
            return httpx.Response(200, text=self.stream)
        return httpx.Response(200, json=self.chat)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Answers:
    made = Answers()
    client = httpx.Client
    monkeypatch.setattr(
        httpx,
        "Client",
        lambda **options: client(transport=httpx.MockTransport(made.answer), headers=options.get("headers")),
    )
    api = KubernetesApi(client(transport=httpx.MockTransport(made.answer), base_url="https://cluster"))
    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", classmethod(lambda *_arguments, **_options: api))
    return made


def _check(**options: Any) -> Walk:
    return inference_check.check("~/kubeconfig", "m", ENDPOINT, namespace="box", stack="dev", **options)


def test_a_healthy_stack_is_walked_to_the_models_words(world: Answers) -> None:
    walk = _check()
    assert walk.ok
    assert [h.name for h in walk.hops] == [
        "cluster",
        "node",
        "rollout",
        "pod",
        "service",
        "/v1/models",
        "chat",
        "streaming",
    ]
    assert walk.figures["text"] == "Paris."
    assert walk.figures["completionTokens"] == 4
    assert walk.figures["timeToFirstTokenSeconds"] >= 0
    assert "Kubernetes v1.36.3" in table(walk)


def test_each_adapter_is_asked_too_and_a_missing_one_is_named(world: Answers) -> None:
    world.models = {"data": [{"id": "m"}, {"id": "sql"}]}
    walk = _check(adapters=["sql"])
    assert walk.ok
    assert [h.name for h in walk.hops][-2:] == ["streaming", "adapter sql"]
    walk = _check(adapters=["sql", "poems"])
    assert walk.failure is not None
    assert walk.hops[-1].name == "adapter poems"
    assert "serves ['m', 'sql'], not poems" in walk.failure.message


BREAKS: dict[str, tuple[str, Callable[[Answers], None], str]] = {
    "server not ready": ("cluster", lambda w: setattr(w, "ready", 500), "not ready"),
    "no node": ("node", lambda w: setattr(w, "nodes", []), "no node"),
    "node not ready": ("node", lambda w: setattr(w, "nodes", [{"metadata": {"name": "n"}, "status": {}}]), "not Ready"),
    "disk full": (
        "node",
        lambda w: setattr(
            w,
            "nodes",
            [
                {
                    **NODE,
                    "status": {
                        "conditions": [*NODE["status"]["conditions"], {"type": "DiskPressure", "status": "True"}]
                    },
                }
            ],
        ),
        "DiskPressure",
    ),
    "no pod": ("pod", lambda w: setattr(w, "pods", []), "no pod"),
    "a pod that crashed": ("pod", lambda w: setattr(w, "pods", [CRASHED]), "the card ran out of memory: 2.00 GiB more"),
    "no endpoint": ("service", lambda w: setattr(w, "slices", []), "no ready endpoint"),
    "wrong model": (
        "/v1/models",
        lambda w: setattr(w, "models", {"data": [{"id": "other"}]}),
        "serves ['other'], not m",
    ),
    "server error": ("/v1/models", lambda w: setattr(w, "status", 503), "answers 503"),
    "empty answer": (
        "chat",
        lambda w: setattr(w, "chat", {"choices": [{"message": {"content": " "}}]}),
        "the answer is empty",
    ),
    "empty stream": ("streaming", lambda w: setattr(w, "stream", "data: [DONE]\n\n"), "holds no text"),
    "broken stream": ("streaming", lambda w: setattr(w, "stream", "data: {oops\n\n"), "the stream broke"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_the_first_broken_hop_is_named_and_ends_the_walk(world: Answers, case: str) -> None:
    hop, harm, said = BREAKS[case]
    harm(world)
    walk = _check()
    assert not walk.ok
    assert walk.hops[-1].name == hop
    assert [h.ok for h in walk.hops] == [*[True] * (len(walk.hops) - 1), False]
    assert said in str(walk.failure)
    assert walk.failure and walk.failure.remedy


def test_a_wrong_key_is_told_apart_from_a_broken_engine(world: Answers) -> None:
    world.key = "right"
    assert "refuses the key (401)" in str(_check(api_key="wrong").failure)
    assert _check(api_key="right").ok


def test_the_key_is_in_no_output(world: Answers) -> None:
    world.key = "canary-key"
    walk = _check(api_key="canary-key")
    assert "canary" not in table(walk) + json.dumps(walk.to_json())


def _deployment(**status: Any) -> dict[str, Any]:
    return {**DEPLOYMENT, "status": {**DEPLOYMENT["status"], **status}}


UNFINISHED = {
    "not seen": (_deployment(observedGeneration=1), [POD], "has not seen the change"),
    "not available": (_deployment(availableReplicas=0), [POD], "0 of 1 replicas available"),
    "not updated": (_deployment(updatedReplicas=0), [POD], "1 of 1 replicas available"),
    "one too many": (_deployment(replicas=2), [POD], "1 of 1 replicas available"),
    "an old pod": (
        DEPLOYMENT,
        [POD, {"metadata": {"name": "m-0", "labels": {"pod-template-hash": "old"}}}],
        "1 pod of an older revision still going: m-0",
    ),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_a_rollout_is_over_only_when_nothing_of_the_older_revision_is_left(name: str) -> None:
    deployment, pods, said = UNFINISHED[name]
    assert said in rollout.unfinished(deployment, REPLICA_SETS, pods)
    assert rollout.unfinished(DEPLOYMENT, REPLICA_SETS, [POD]) == ""


def test_a_rollout_under_way_is_waited_for_where_that_is_asked(world: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(rollout, "_SAID_EVERY", 0.0)
    world.deployments = [_deployment(observedGeneration=1), _deployment(availableReplicas=0), DEPLOYMENT]
    told: list[str] = []
    assert _check(wait=told.append).ok
    assert ["has not seen" in told[0], "0 of 1 replicas available" in told[1], len(told)] == [True, True, 2]


def test_a_rollout_under_way_is_named_with_its_pods_cause_where_nobody_waits(world: Answers) -> None:
    world.deployments = [_deployment(availableReplicas=0)]
    loading = {"phase": "Running", "conditions": [], "containerStatuses": [{"state": {"running": {}}}]}
    world.pods = [{**POD, "status": loading}]
    failure = _check().failure
    assert failure
    assert "m: rollout is broken: 0 of 1 replicas available; pod m-1: the engine is still loading" in failure.message


def test_a_rollout_that_never_ends_is_given_up_at_its_own_deadline(
    world: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(rollout.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(rollout.time, "sleep", lambda _seconds: None)
    world.deployments, world.pods = [_deployment(availableReplicas=0)], []
    failure = _check(wait=lambda _said: None).failure
    assert failure
    assert "0 of 1 replicas available" in failure.message


def test_a_deployment_that_was_deleted_by_hand_is_named(world: Answers) -> None:
    world.deployments = []
    failure = _check().failure
    assert failure
    assert "there is no Deployment m" in failure.message
    assert "./lab refresh dev" in failure.remedy


def test_a_wait_ends_early_where_the_engine_can_never_start(world: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(rollout, "_SAID_EVERY", 0.0)
    world.deployments, world.pods = [_deployment(availableReplicas=0)], [CRASHED]
    told: list[str] = []
    failure = _check(wait=told.append).failure
    assert failure and told == []
    assert "pod m-1: the card ran out of memory: 2.00 GiB more were wanted" in failure.message
    assert "./lab plan dev" in failure.remedy
