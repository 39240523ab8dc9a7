"""Tokens of an identity provider at a gateway that runs: what is taken, what is refused, and what never gets on."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from probes.verify import suite
from probes.verify.target import CHAT, Target, chat_body
from tests.support.identity_provider import IdentityProvider, encoded
from tests.support.live_gateway import LiveGateway, answering, free_port, running, wait_until

pytestmark = pytest.mark.long
IDP, OTHER_IDP = IdentityProvider(), IdentityProvider()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with answering(tmp_path_factory.mktemp("home"), oidc=IDP.plan()) as made:
        yield made


def status(target: Target, authorization: str) -> int:
    headers = {"authorization": authorization}
    return target.ask("POST", CHAT, json=chat_body("a", "Hi"), headers=headers).status_code


def changed(token: str, place: int) -> str:
    """The token with another character in one of its parts."""
    parts = token.split(".")
    parts[place] = parts[place][:-4] + ("A" if parts[place][-4] != "A" else "B") + parts[place][-3:]
    return ".".join(parts)


# what is wrong with a token that is right otherwise -> the answer
WRONG: dict[str, tuple[Callable[[], str], int]] = {
    "expired": (lambda: IDP.token(exp=1_000_000_000), 401),
    "without an end": (lambda: IDP.token(exp=None), 401),
    "not yet": (lambda: IDP.token(nbf=4_000_000_000), 401),
    "another issuer": (lambda: IDP.token(iss="https://idp.example/realms/lab2"), 401),
    "a longer issuer": (lambda: IDP.token(iss="https://idp.example/realms/lab/"), 401),
    "no issuer": (lambda: IDP.token(iss=None), 401),
    "another audience": (lambda: IDP.token(aud="labs"), 403),
    "no audience": (lambda: IDP.token(aud=None), 403),
    "no claim that names the client": (lambda: IDP.token(sub=None), 403),
    "an empty claim": (lambda: IDP.token(sub=""), 403),
    "a claim with a line end": (lambda: IDP.token(sub="a\r\nx-model: b"), 403),
    "a claim with a blank": (lambda: IDP.token(sub="lab root"), 403),
    "a claim that is a list": (lambda: IDP.token(sub=["lab"]), 401),
    "another provider's key": (OTHER_IDP.token, 401),
    "another provider's key of P-256": (lambda: OTHER_IDP.token("ES256"), 401),
    "another provider's key shown in it": (lambda: OTHER_IDP.token(header={"jwk": OTHER_IDP.keys()["keys"][0]}), 401),
    "an address of keys in it": (lambda: OTHER_IDP.token(header={"jku": "https://localhost/certs"}), 401),
    "an unknown key": (lambda: IDP.token(header={"kid": "x"}), 401),
    "the key of the other algorithm": (lambda: IDP.token(header={"kid": "e"}), 401),
    "no signature": (lambda: IDP.token("none"), 401),
    "a signature cut off": (lambda: IDP.token().rpartition(".")[0] + ".", 401),
    "the public key as a secret": (lambda: IDP.token("HS256"), 401),
    "a changed head": (lambda: changed(IDP.token(), 0), 401),
    "changed claims": (lambda: changed(IDP.token(), 1), 401),
    "a changed signature": (lambda: changed(IDP.token(), 2), 401),
    "no JSON": (lambda: f"eyJ.{encoded(b'x')}.{encoded(b'x')}", 401),
    "four parts": (lambda: f"{IDP.token()}.AAAA", 401),
    "two parts": (lambda: IDP.token().rpartition(".")[0], 401),
    "two tokens": (lambda: f"{IDP.token()},{IDP.token()}", 401),
    "a key after it": (lambda: f"{IDP.token()} sk-lab-a", 401),
}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_token_is_taken_and_its_client_has_a_name_that_no_key_can_have(
    front: LiveGateway, target: Target, algorithm: str
) -> None:
    token = IDP.token(algorithm, aud=["other", "lab"], sub="lab")
    assert status(target, f"Bearer {token}") == 200
    _, headers, _ = front.engines["a"].seen[-1]
    assert headers["x-client-id"] == "oidc:lab"
    assert headers["authorization"] == f"Bearer {front.engines['a'].key}"
    assert token not in json.dumps(headers)
    assert "x-token-client" not in headers
    wait_until(lambda: '"client":"oidc:lab"' in front.log())
    assert token.rpartition(".")[2] not in front.log()


@pytest.mark.parametrize("wrong", WRONG)
def test_a_token_that_is_wrong_is_refused(front: LiveGateway, target: Target, wrong: str) -> None:
    make, expected = WRONG[wrong]
    before = sum(len(engine.seen) for engine in front.engines.values())
    answer = target.ask("POST", CHAT, json=chat_body("a", "Hi"), headers={"authorization": f"Bearer {make()}"})
    assert answer.status_code == expected, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert sum(len(engine.seen) for engine in front.engines.values()) == before


def test_keys_go_on_as_they_did(front: LiveGateway, target: Target) -> None:
    assert status(target, f"Bearer {front.key}") == 200
    assert front.engines["a"].seen[-1][1]["x-client-id"] == "lab"
    assert [(o.name, o.finding) for o in suite.run(target) if o.finding] == []


PATHS = ("GET /v1/models", f"POST {CHAT}", f"POST /models/b{CHAT}", "POST /metrics", "GET /", "POST /v1/responses")
CLAIMED: tuple[dict[str, str], ...] = (
    {},
    {"x-client-id": "lab", "x-token-client": "alice", "x-model": "b"},
    {"x-jwt-payload": encoded({"sub": "alice"}), "cookie": f"access_token={IDP.token()}"},
)
BODIES: tuple[dict[str, Any], ...] = (
    {"json": chat_body("b", "Hi")},
    {"content": b"no JSON", "headers": {"content-type": "application/json"}},
)


def combinations() -> list[tuple[str, list[tuple[str, str]]]]:
    """Headers without one valid credential: each bad one alone and each two of them, with each scheme."""
    bad = {
        "nothing": None, "a wrong key": "sk-lab-wrong", "another provider's token": OTHER_IDP.token(),
        "an expired token": IDP.token(exp=1_000_000_000), "no signature": IDP.token("none"), "empty": "",
    }  # fmt: skip
    found = []
    for (one, first), (two, second) in itertools.product(bad.items(), repeat=2):
        for scheme in ("Bearer ", "bearer ", "Basic ", ""):
            pairs = [("authorization", f"{scheme}{value}".strip()) for value in (first, second) if value is not None]
            found.append((f"{one}, {two}, {scheme}", pairs))
    return found


def test_no_combination_without_a_valid_credential_passes(front: LiveGateway, target: Target) -> None:
    before = sum(len(engine.seen) for engine in front.engines.values())
    passed, valid = [], IDP.token()
    with target.client() as client:
        for number, (name, credentials) in enumerate(combinations()):
            for place, (path, claimed) in enumerate(itertools.product(PATHS, CLAIMED)):
                method, address = path.split()
                body = BODIES[(number + place) % len(BODIES)] if method == "POST" else {}
                headers = [*credentials, *claimed.items(), *body.get("headers", {}).items()]
                answer = client.request(
                    method, address, headers=headers, params={"access_token": valid} if place % 2 else None,
                    **{key: value for key, value in body.items() if key != "headers"},
                )  # fmt: skip
                if answer.status_code not in (401, 403):
                    passed.append((name, path, claimed, answer.status_code))
    assert passed == []
    assert sum(len(engine.seen) for engine in front.engines.values()) == before


@pytest.mark.parametrize("stated", [f"POST {CHAT}", f"POST /models/b{CHAT}"])
def test_a_body_that_arrives_late_opens_nothing(front: LiveGateway, target: Target, stated: str) -> None:
    """The route is chosen once more when the body is there: who asks is decided before, and for every route."""
    for credential, expected in ((OTHER_IDP.token(), 401), ("sk-lab-wrong", 401), (IDP.token(), 200), (front.key, 200)):
        answer = target.ask(
            "POST", stated.split()[1], content=iter((b'{"model":', b'"b"}')),
            headers={"authorization": f"Bearer {credential}", "content-type": "application/json"},
        )  # fmt: skip
        assert answer.status_code == expected


def test_two_credentials_are_refused_even_where_both_are_right(front: LiveGateway, target: Target) -> None:
    """Envoy reads two headers of that name as one value, which is neither a key nor a token."""
    known = {"key": front.key, "token": IDP.token(), "other": OTHER_IDP.token()}
    before = len(front.engines["a"].seen)
    for pair in itertools.product(known, repeat=2):
        headers = [("authorization", f"Bearer {known[name]}") for name in pair]
        answer = target.ask("POST", CHAT, json=chat_body("a", "Hi"), headers=headers)
        assert (pair, answer.status_code) == (pair, 401)
    assert len(front.engines["a"].seen) == before


def test_without_the_filter_that_asks_the_gate_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def nobody_asks(document: dict[str, Any]) -> None:
        (listener,) = document["static_resources"]["listeners"]
        filters = listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
        filters[:] = [one for one in filters if one["name"] != "token_or_key"]

    with running(tmp_path, nobody_asks, oidc=IDP.plan()) as made:
        target = Target(
            "127.0.0.1", made.plan.port, made.authority, made.key, "", "", ("a",), 0, 0, 0, 0, 0, lambda: ""
        )
        for headers in ({}, {"x-client-id": "lab", "x-token-client": "alice", "authorization": f"Bearer {made.key}"}):
            assert target.ask("POST", CHAT, json=chat_body("a", "Hi"), headers=headers).status_code == 403
        assert made.engines["a"].seen == []


def test_a_token_s_client_has_a_limit_of_its_own(tmp_path: Path) -> None:
    with answering(tmp_path, oidc=IDP.plan(client_claim="user.name"), requests_per_minute=60) as made:
        target = made.target()
        first = {"authorization": f"Bearer {IDP.token(user={'name': 'spare'})}"}
        found = [target.ask("GET", "/v1/models", headers=first).status_code for _ in range(70)]
        assert found == [200] * 60 + [429] * 10
        again = {"authorization": f"Bearer {IDP.token(user={'name': 'spare'}, jti='another')}"}
        assert target.ask("GET", "/v1/models", headers=again).status_code == 429
        assert target.ask("GET", "/v1/models", key=target.spare_key).status_code == 200  # the key of that name
        other = {"authorization": f"Bearer {IDP.token(user={'name': 'bob'})}"}
        assert target.ask("GET", "/v1/models", headers=other).status_code == 200


def test_keys_of_the_provider_are_fetched_over_tls_once_and_not_from_another_authority(tmp_path: Path) -> None:
    provider = IdentityProvider()
    with provider.serving(tmp_path / "idp") as (url, authority):
        with answering(tmp_path / "right", oidc=provider.plan(jwks=None, jwks_uri=url, ca=authority)) as made:
            target = made.target()
            wait_until(lambda: status(target, f"Bearer {provider.token()}") == 200)
            assert [status(target, f"Bearer {provider.token()}") for _ in range(20)] == [200] * 20
            assert status(target, f"Bearer {OTHER_IDP.token()}") == 401
            assert provider.asked == 1
        before = provider.asked
        other = pem_of_another(tmp_path)
        with answering(tmp_path / "wrong", oidc=provider.plan(jwks=None, jwks_uri=url, ca=other)) as made:
            target = made.target()
            assert [status(target, f"Bearer {provider.token()}") for _ in range(3)] == [401] * 3
            assert status(target, f"Bearer {made.key}") == 200
        assert provider.asked == before


def test_a_provider_s_certificate_must_be_for_its_name(tmp_path: Path) -> None:
    provider = IdentityProvider()
    with (
        provider.serving(tmp_path / "idp", name="idp.example") as (url, authority),
        answering(tmp_path / "home", oidc=provider.plan(jwks=None, jwks_uri=url, ca=authority)) as made,
    ):
        assert [status(made.target(), f"Bearer {provider.token()}") for _ in range(3)] == [401] * 3
        assert provider.asked == 0


def test_while_the_provider_is_silent_tokens_are_refused_and_keys_work(tmp_path: Path) -> None:
    provider, port = IdentityProvider(), free_port()
    with provider.serving(tmp_path / "idp") as (_, authority):
        pass
    plan = provider.plan(jwks=None, jwks_uri=f"https://localhost:{port}/certs", ca=authority)
    with answering(tmp_path / "home", oidc=plan) as made:
        target = made.target()
        assert status(target, f"Bearer {provider.token()}") == 401
        assert status(target, f"Bearer {made.key}") == 200
        with provider.serving(tmp_path / "idp", port=port):
            wait_until(lambda: status(target, f"Bearer {provider.token()}") == 200, 60)


def looks_each_second(document: dict[str, Any]) -> None:
    """As after five minutes."""
    text = json.dumps(document)
    assert text.count('"cache_duration": "300s"') == 1
    document.clear()
    document.update(json.loads(text.replace('"cache_duration": "300s"', '"cache_duration": "1s"')))


def test_a_key_that_the_provider_changes_is_taken_and_its_old_one_is_not(tmp_path: Path) -> None:
    provider = IdentityProvider()
    with provider.serving(tmp_path / "idp") as (url, authority):
        plan = provider.plan(jwks=None, jwks_uri=url, ca=authority)
        with answering(tmp_path / "home", change=looks_each_second, oidc=plan) as made:
            target, old = made.target(), provider.token()
            wait_until(lambda: status(target, f"Bearer {old}") == 200)
            provider.rsa_key = OTHER_IDP.rsa_key
            wait_until(lambda: status(target, f"Bearer {provider.token()}") == 200)
            assert status(target, f"Bearer {old}") == 401


def test_the_last_keys_stay_where_a_later_fetch_fails(tmp_path: Path) -> None:
    provider, port = IdentityProvider(), free_port()
    with contextlib.ExitStack() as running_provider:
        url, authority = running_provider.enter_context(provider.serving(tmp_path / "idp", port=port))
        plan = provider.plan(jwks=None, jwks_uri=url, ca=authority)
        with answering(tmp_path / "home", change=looks_each_second, oidc=plan) as made:
            target = made.target()
            wait_until(lambda: status(target, f"Bearer {provider.token()}") == 200)
            running_provider.close()
            time.sleep(3)  # three fetches that fail
            assert status(target, f"Bearer {provider.token()}") == 200
            assert status(target, f"Bearer {OTHER_IDP.token()}") == 401


def test_a_body_with_a_wrong_token_is_not_read(front: LiveGateway, target: Target) -> None:
    for token in (OTHER_IDP.token(), IDP.token(exp=1_000_000_000)):
        head = target.head(
            "POST", CHAT, key=token, content_type="application/json", content_length=str(64 * target.request_buffer)
        )
        assert target.raw(head + b"{") == 401


def pem_of_another(folder: Path) -> str:
    with OTHER_IDP.serving(folder / "other") as (_, authority):
        return authority
