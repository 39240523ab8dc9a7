"""The inference check against stand-ins: every hop can break, and the first broken one is named with its cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from probes import causes, inference_check
from probes.hops import Walk, table
from probes.kubernetes_api import KubernetesApi

ENDPOINT = "http://10.0.0.1:30080/v1"
NODE = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
POD = {"metadata": {"name": "m-1"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
SLICE = {"endpoints": [{"addresses": ["10.244.0.5"], "conditions": {"ready": True}}]}
STREAM = 'data: {"choices":[{"delta":{"content":"Par"}}]}\n\ndata: {"choices":[{"delta":{"content":"is"}}]}\n\ndata: [DONE]\n\n'


class World:
    """What the API server and the model server answer; tests break one thing."""

    def __init__(self) -> None:
        self.nodes, self.pods, self.slices = [NODE], [POD], [SLICE]
        self.ready = 200
        self.models: Any = {"data": [{"id": "m"}]}
        self.chat: Any = {"choices": [{"message": {"content": " Paris."}}], "usage": {"completion_tokens": 4}}
        self.stream = STREAM
        self.key: str | None = None
        self.status = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        lists = {"/api/v1/nodes": self.nodes, "/api/v1/namespaces/local-ai-models/pods": self.pods}
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
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    client = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **options: client(transport=httpx.MockTransport(made.answer), headers=options.get("headers"))
    )
    api = KubernetesApi(client(transport=httpx.MockTransport(made.answer), base_url="https://cluster"))
    monkeypatch.setattr(KubernetesApi, "from_kubeconfig", classmethod(lambda *_arguments, **_options: api))
    return made


def _check(**options: Any) -> Walk:
    return inference_check.check("~/kubeconfig", "m", ENDPOINT, stack="dev", **options)


def test_a_healthy_stack_is_walked_to_the_models_words(world: World) -> None:
    walk = _check()
    assert walk.ok
    assert [h.name for h in walk.hops] == ["cluster", "node", "pod", "service", "/v1/models", "chat", "streaming"]
    assert walk.figures["text"] == "Paris."
    assert walk.figures["completionTokens"] == 4
    assert walk.figures["timeToFirstTokenSeconds"] >= 0
    assert "Kubernetes v1.36.3" in table(walk)


BREAKS: dict[str, tuple[str, Callable[[World], None], str]] = {
    "server not ready": ("cluster", lambda w: setattr(w, "ready", 500), "not ready"),
    "no node": ("node", lambda w: setattr(w, "nodes", []), "no node"),
    "node not ready": ("node", lambda w: setattr(w, "nodes", [{"metadata": {"name": "n"}, "status": {}}]), "not Ready"),
    "disk full": (
        "node",
        lambda w: setattr(
            w, "nodes", [{**NODE, "status": {"conditions": [*NODE["status"]["conditions"], {"type": "DiskPressure", "status": "True"}]}}]
        ),
        "DiskPressure",
    ),
    "no pod": ("pod", lambda w: setattr(w, "pods", []), "no pod"),
    "no endpoint": ("service", lambda w: setattr(w, "slices", []), "no ready endpoint"),
    "wrong model": ("/v1/models", lambda w: setattr(w, "models", {"data": [{"id": "other"}]}), "serves ['other'], not m"),
    "server error": ("/v1/models", lambda w: setattr(w, "status", 503), "answers 503"),
    "empty answer": ("chat", lambda w: setattr(w, "chat", {"choices": [{"message": {"content": " "}}]}), "the answer is empty"),
    "empty stream": ("streaming", lambda w: setattr(w, "stream", "data: [DONE]\n\n"), "holds no text"),
    "broken stream": ("streaming", lambda w: setattr(w, "stream", "data: {oops\n\n"), "the stream broke"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_the_first_broken_hop_is_named_and_ends_the_walk(world: World, case: str) -> None:
    hop, harm, said = BREAKS[case]
    harm(world)
    walk = _check()
    assert not walk.ok
    assert walk.hops[-1].name == hop
    assert [h.ok for h in walk.hops] == [*[True] * (len(walk.hops) - 1), False]
    assert said in str(walk.failure)
    assert walk.failure and walk.failure.remedy


def test_a_wrong_key_is_told_apart_from_a_broken_engine(world: World) -> None:
    world.key = "right"
    assert "refuses the key (401)" in str(_check(api_key="wrong").failure)
    assert _check(api_key="right").ok


def test_the_key_is_in_no_output(world: World) -> None:
    world.key = "canary-key"
    walk = _check(api_key="canary-key")
    assert "canary" not in table(walk) + json.dumps(walk.to_json())


PODS = {
    "OOMKilled": (
        {"lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        "memory limit",
    ),
    "ErrImageNeverPull": ({"state": {"waiting": {"reason": "ErrImageNeverPull"}}}, "builds and imports"),
    "ImagePullBackOff": ({"state": {"waiting": {"reason": "ImagePullBackOff"}}}, "registry"),
    "CrashLoopBackOff": ({"state": {"waiting": {"reason": "CrashLoopBackOff"}}}, "its log says why"),
}


@pytest.mark.parametrize("reason", PODS)
def test_a_pods_state_gives_its_cause_and_what_helps(reason: str) -> None:
    status, helps = PODS[reason]
    cause = causes.of_pod({"status": {"containerStatuses": [status]}})
    assert cause is not None
    assert reason in cause.what
    assert helps in cause.remedy


def test_a_pod_that_nothing_can_hold_says_what_is_missing() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu.",
    }
    cause = causes.of_pod({"status": {"conditions": [condition]}})
    assert cause is not None
    assert "device plugin" in cause.remedy


def test_a_ready_pod_has_no_cause() -> None:
    assert causes.of_pod(POD) is None
