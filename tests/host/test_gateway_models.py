"""Keys for some models only, at a gateway that runs, and the file that says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli.commands import keys as command
from components.gateway.envoy_manifests import bootstrap
from host.gateway import gateway_files, key_models
from host.gateway.keys import Keys
from host.gateway.kubernetes import Place, _secrets
from probes.verify.target import CHAT, Target, chat_body
from stacks.errors import HostError, LabError
from tests.support.identity_provider import IdentityProvider
from tests.support.live_gateway import CHAT_ALIAS, STACK, Engine, LiveGateway, answering, plan_for, wait_until

IDP = IdentityProvider()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveGateway]:
    with answering(tmp_path_factory.mktemp("home"), oidc=IDP.plan()) as made:
        yield made


def answers(target: Target, key: str) -> dict[str, int]:
    """The statuses of chats by the model that is asked; `list` is the list of models."""
    found = {name: target.chat(name, key=key).status_code for name in ("a", "b", "chat", "none")}
    return {**found, "list": target.ask("GET", "/v1/models", key=key).status_code}


def added(front: LiveGateway, target: Target, name: str, *models: str) -> str:
    key = front.keys.add(name, models)
    wait_until(lambda: target.ask("GET", "/v1/models", key=key).status_code == 200)
    return key


@pytest.mark.long
def test_a_key_asks_its_models_and_no_other_without_a_restart(front: LiveGateway, target: Target) -> None:
    process = front.process.pid
    b = added(front, target, "only-b", "b")
    alias = added(front, target, "only-chat", "chat")
    two = added(front, target, "both", "a", "b")
    every = added(front, target, "every")
    assert answers(target, b) == {"a": 403, "b": 200, "chat": 403, "none": 404, "list": 200}
    assert answers(target, alias) == {"a": 403, "b": 403, "chat": 200, "none": 404, "list": 200}
    assert answers(target, two) == {"a": 200, "b": 200, "chat": 403, "none": 404, "list": 200}
    assert answers(target, every) == {"a": 200, "b": 200, "chat": 200, "none": 404, "list": 200}
    second = front.keys.rotate("only-b")
    wait_until(lambda: target.chat("b", key=second).status_code == 200)
    assert answers(target, second) == {"a": 403, "b": 200, "chat": 403, "none": 404, "list": 200}
    front.keys.revoke("only-b")
    wait_until(lambda: target.chat("b", key=second).status_code == 401)
    third = added(front, target, "only-b")  # of that name again, and for all
    wait_until(lambda: target.chat("a", key=third).status_code == 200)
    assert (front.process.pid, front.process.poll()) == (process, None)


@pytest.mark.long
def test_a_refusal_is_an_error_as_openai_s_clients_read_it(front: LiveGateway, target: Target) -> None:
    answer = target.chat("b", key=target.narrow_key)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == {
        "message": "This key may not ask that model: `lab keys` says which",
        "type": "permission_error",
        "param": None,
        "code": "model_not_allowed",
    }


@pytest.mark.long
def test_a_client_that_the_file_does_not_name_asks_no_model(front: LiveGateway, target: Target) -> None:
    """As it is for a moment when the keys were read and the file beside them was not."""
    path, key = front.keys.folder / key_models.MODELS_FILE, added(front, target, "new")
    text = path.read_text()
    path.with_name(".new").write_text(key_models.document({"lab": (), "spare": (), "narrow": ("a",)}))
    path.with_name(".new").rename(path)
    try:
        wait_until(lambda: target.chat("a", key=key).status_code == 403)
        assert answers(target, key) == {"a": 403, "b": 403, "chat": 403, "none": 403, "list": 403}
        assert target.chat("a", key=front.key).status_code == 200
    finally:
        path.with_name(".new").write_text(text)
        path.with_name(".new").rename(path)
    wait_until(lambda: target.chat("a", key=key).status_code == 200)


@pytest.mark.long
def test_tokens_are_for_all_models_even_where_a_key_of_that_name_is_not(front: LiveGateway, target: Target) -> None:
    headers = {"authorization": f"Bearer {IDP.token(sub='narrow')}"}
    for model in ("a", "b"):
        assert target.ask("POST", CHAT, json=chat_body(model, "Hi"), headers=headers).status_code == 200


def test_every_route_to_an_engine_says_its_model_and_no_other_route_says_one() -> None:
    engines = [Engine("a", ""), Engine("b", "", task="rerank"), Engine("c", "", task="transcription")]
    plan = plan_for([*engines, Engine("d", "", adapters=("e",))], aliases=(CHAT_ALIAS,))
    (listener,) = json.loads(bootstrap(plan))["static_resources"]["listeners"]
    hosts = listener["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    routes = [route for host in hosts for route in host["routes"]]
    said = {route["name"] for route in routes if "route" in route}
    assert said == {"a", "b", "c", "d", "e", "chat"}
    for route in routes:
        expected = {"filter_metadata": {"local_ai_lab": {"model": route["name"]}}} if "route" in route else None
        assert route.get("metadata") == expected


def test_the_file_says_what_was_told_and_is_read_back() -> None:
    told: dict[str, tuple[str, ...]] = {"lab": (), "one": ("a",), "two": ("a", "b"), "all-models": ("a",)}
    text = key_models.document(told)
    assert key_models.read(text) == {name: models for name, models in told.items() if models}
    rules = json.loads(text)["resources"][0]["typed_config"]["rules"]
    assert rules["action"] == "ALLOW"  # who does not stand in it asks nothing
    free = [principal["header"]["string_match"] for principal in rules["policies"]["all models"]["principals"]]
    assert free == [{"exact": "lab"}, {"prefix": "oidc:"}]


def test_keys_of_before_go_on_and_are_for_all_models(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "envoy", "a-stack")
    keys.ensure_own()
    old = keys.add("old")
    (tmp_path / "envoy" / "models.json").unlink()  # as a version without it left the folder
    with pytest.raises(HostError, match="does not keep keys to models yet"):
        keys.add("narrow", ["a"])
    keys.add("another")
    assert not keys.may_be_narrow  # the Envoy that runs would not read it
    assert keys.ensure_own()
    assert (keys.of("old"), keys.models("old"), keys.models("another")) == (old, (), ())
    keys.add("narrow", ["a", "b", "a"])
    assert keys.models("narrow") == ("a", "b")
    assert not keys.ensure_own()
    assert keys.models("narrow") == ("a", "b")
    assert oct((tmp_path / "envoy" / "models.json").stat().st_mode & 0o777) == "0o600"
    (tmp_path / "envoy" / "models.json").write_text("{}")
    with pytest.raises(HostError, match="cannot be read"):
        keys.add("third")
    assert keys.names() == ["lab", "another", "narrow", "old"]


def test_another_kind_of_gateway_gets_no_key_that_it_cannot_keep_to_its_models() -> None:
    gateway_files.ensure(STACK, None, ["localhost"])
    gateway_files.keys(STACK).add("narrow", ["a"])
    gateway_files.keys(STACK).add("every")
    (clients, *_) = _secrets(Place(STACK, "/nowhere", "a-space", ("localhost",), "aibrix"))
    assert set(clients.texts) == {"lab", "every"}


@pytest.mark.parametrize(
    ("kind", "action", "models", "said"),
    [
        ("envoy", "add", ["zzz"], "zzz: not a model, adapter or alias"),
        ("envoy", "rotate", ["a"], "--model is for new keys"),
        ("aibrix", "add", ["a"], "only a gateway of kind envoy"),
    ],
)
def test_lab_keys_refuses_models_that_it_cannot_keep_a_key_to(
    kind: str, action: str, models: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway_files.ensure(STACK, None, ["localhost"])
    gateway = SimpleNamespace(kind=kind, names=("a", "b", "chat"))
    target = SimpleNamespace(stack=STACK, plan=SimpleNamespace(gateway=gateway, cluster=None), gateway_access=list)
    monkeypatch.setattr(command, "deployed", lambda root, stack: target)
    with pytest.raises(LabError, match=said):
        command.run(tmp_path, STACK, action, "laptop", models=models, as_json=False)
    assert gateway_files.keys(STACK).names() == ["lab"]


def test_lab_keys_lists_what_each_key_may_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway_files.ensure(STACK, None, ["localhost"])
    gateway = SimpleNamespace(kind="envoy", names=("a", "b", "chat"))
    target = SimpleNamespace(stack=STACK, plan=SimpleNamespace(gateway=gateway, cluster=None), gateway_access=list)
    monkeypatch.setattr(command, "deployed", lambda root, stack: target)
    command.run(tmp_path, STACK, "add", "laptop", models=["a", "chat"], as_json=False)
    command.run(tmp_path, STACK, "add", "phone", as_json=False)
    capsys.readouterr()
    command.run(tmp_path, STACK, "ls", None, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "lab   (the checks of the lab itself)", "laptop   (only a, chat)", "phone",
    ]  # fmt: skip
    command.run(tmp_path, STACK, "ls", None, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["clients"] == ["lab", "laptop", "phone"]
    assert told["models"] == {"laptop": ["a", "chat"]}
