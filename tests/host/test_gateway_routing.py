"""Routes of a gateway that runs: the rest of the cases that a fixed Envoy was tried with, aliases, sessions, sizes."""

from __future__ import annotations

import collections
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from probes.verify.target import CHAT, Target, chat_body, chat_bytes
from stacks.plan.gateway import AffinityPlan, AliasPlan, AliasTargetPlan
from tests.support.body_cases import CASES, CLAIMS_B, ERROR_KEYS, JSON
from tests.support.live_gateway import CHAT_ALIAS, LiveGateway, answering, translated_running, wait_until

pytestmark = pytest.mark.long
MANY = tuple(
    AliasPlan(name=f"a-name-of-forty-characters-for-a-model-{n:02}", targets=(AliasTargetPlan(model="a", weight=1),))
    for n in range(60)
)
GATEWAY = {
    "aliases": (CHAT_ALIAS, *MANY),
    "affinity": AffinityPlan(by="header", name="x-session-id"),
    "requests_per_minute": 100_000,
    "total_requests_per_minute": 1_000_000,
}


@pytest.fixture(scope="module", params=["fixed", "translated"])
def front(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    """The fixed Envoy, and the one that Envoy Gateway would make."""
    home = tmp_path_factory.mktemp("home")
    with translated_running(home) if request.param == "translated" else answering(home, **GATEWAY) as made:
        yield made


@pytest.mark.parametrize(("content", "headers", "status", "models"), CASES.values(), ids=list(CASES))
def test_a_request_goes_to_the_model_that_its_body_names(
    front: LiveGateway, target: Target, content: bytes, headers: dict[str, str], status: int, models: str
) -> None:
    before = {name: len(engine.seen) for name, engine in front.engines.items()}
    answer = target.ask("POST", CHAT, key=front.key, content=content, headers=headers)
    asked = [name for name, engine in front.engines.items() if len(engine.seen) > before[name]]
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    if not models:
        assert asked == []
        assert set(answer.json()["error"]) == ERROR_KEYS
        return
    (asked_one,) = asked
    assert asked_one in models
    assert answer.json()["model"] == asked_one
    assert front.engines[asked_one].seen[-1][2] == content


@pytest.mark.parametrize("model", ["a", "b"])
def test_http_2_and_chunks_are_routed_alike(front: LiveGateway, target: Target, model: str) -> None:
    body = chat_bytes(model)

    def pieces() -> Iterator[bytes]:
        yield body[:7]
        yield body[7:]

    chunked = target.ask("POST", CHAT, key=front.key, content=pieces(), headers=JSON)
    assert (chunked.status_code, chunked.json()["model"]) == (200, model)
    headers = {**JSON, **CLAIMS_B, "authorization": f"Bearer {front.key}"}
    words = ["curl", "-s", "--http2", "--cacert", front.authority, "--data-binary", "@-", "-w", "\n%{http_version}"]
    words += [word for pair in headers.items() for word in ("-H", ": ".join(pair))]
    done = subprocess.run([*words, f"{target.url}{CHAT}"], input=body, capture_output=True, check=True)
    answer, _, version = done.stdout.decode().rpartition("\n")
    assert (version, json.loads(answer)["model"]) == ("2", model)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_only_posts_reach_an_engine(front: LiveGateway, target: Target, method: str) -> None:
    before = sum(len(engine.seen) for engine in front.engines.values())
    for path in (CHAT, f"/models/a{CHAT}"):
        assert target.ask(method, path, key=front.key, content=chat_bytes("a"), headers=JSON).status_code == 404
    assert sum(len(engine.seen) for engine in front.engines.values()) == before


def test_a_canary_gets_its_part_of_the_requests(front: LiveGateway, target: Target) -> None:
    with target.client(front.key) as client:
        found = collections.Counter(client.post(CHAT, json={"model": "chat"}).json()["model"] for _ in range(2000))
    assert 0.87 <= found["a"] / 2000 <= 0.93  # three percentage points; a binomial spread of 0.67 makes it 4.5 sigma


def test_a_session_stays_with_its_model(front: LiveGateway, target: Target) -> None:
    with target.client(front.key) as client:

        def model(session: str) -> str:
            answer = client.post(CHAT, json={"model": "chat"}, headers={"x-session-id": session})
            return str(answer.json()["model"])

        first = {f"session-{n}": model(f"session-{n}") for n in range(100)}
        assert set(first.values()) == {"a", "b"}
        kept = next(name for name, found in first.items() if found == "b")
        assert {model(kept) for _ in range(200)} == {"b"}
        assert {name: model(name) for name in first} == first


def test_an_address_of_one_model_leads_to_it_alone(front: LiveGateway, target: Target) -> None:
    found: dict[str, Any] = {}
    for told in ("b", "a", "chat", None):
        body = {"messages": [], **({"model": told} if told else {})}
        found[str(told)] = target.ask("POST", f"/models/b{CHAT}", key=front.key, json=body).status_code
    assert found == {"b": 200, "a": 404, "chat": 404, "None": 200}
    path, headers, _ = front.engines["b"].seen[-1]
    assert path == CHAT
    assert headers["authorization"] == f"Bearer {front.engines['b'].key}"
    assert not {"x-model", "x-model-status"} & set(headers)
    listed = target.ask("GET", "/models/b/v1/models", key=front.key).json()["data"]
    assert [row["id"] for row in listed] == ["b"]
    assert target.ask("POST", f"/models/chat{CHAT}", key=front.key, json=chat_body("chat", "Hi")).status_code == 200


def test_a_list_longer_than_a_direct_response_holds_is_whole(front: LiveGateway, target: Target) -> None:
    answer = target.ask("GET", "/v1/models", key=front.key)
    assert (len(answer.content) > 4096) == (front.plan.envoy_gateway is None)  # one list of those is enough
    assert [row["id"] for row in answer.json()["data"]] == list(front.plan.names)


def test_errors_of_an_engine_are_passed_on_and_close_it_to_nobody(front: LiveGateway, target: Target) -> None:
    engine = front.engines["b"]
    before = len(engine.seen)
    engine.fails = True
    try:
        answers = [target.chat("b", key=front.key) for _ in range(30)]
    finally:
        engine.fails = False
    assert {(answer.status_code, answer.text) for answer in answers} == {(500, '{"error": "its own"}')}
    assert len(engine.seen) == before + 30  # each was sent once: what an engine has begun is not sent again
    assert target.chat("b", key=front.key).status_code == 200


def test_a_stream_of_an_alias_arrives_as_it_is_sent(front: LiveGateway, target: Target) -> None:
    body = {**chat_body("chat", "Hi"), "stream": True}
    with target.client(front.key) as client, client.stream("POST", CHAT, json=body) as answer:
        assert answer.status_code == 200
        assert len(list(answer.iter_raw())) == 5


def test_an_alias_whose_model_is_gone_says_so_and_others_go_on(front: LiveGateway, target: Target) -> None:
    front.engines["a"].healthy = False
    try:
        wait_until(lambda: target.chat("a", key=front.key).status_code == 503, 60)
        answers = [target.chat("chat", key=front.key) for _ in range(40)]
        gone = [answer for answer in answers if answer.status_code == 503]
        # Envoy Gateway has one cluster of all that an alias leads to, so that the others take over
        assert bool(gone) == (front.plan.envoy_gateway is None)
        assert all(answer.headers["retry-after"] == "5" for answer in gone)
        assert {a.json().get("model", a.json().get("error", {}).get("code")) for a in answers} <= {
            "b", "model_not_ready",
        }  # fmt: skip
        assert target.chat("b", key=front.key).status_code == 200
    finally:
        front.engines["a"].healthy = True
    wait_until(lambda: target.chat("a", key=front.key).status_code == 200, 60)
