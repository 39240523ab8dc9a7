"""Each probe of `lab verify` finds something once its protection is taken away: none passes whatever happens."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.gateway.envoy_oidc_manifests import GATE
from components.gateway.envoy_route_manifests import SPEECH_PATH
from probes.verify.access import FORBIDDEN
from probes.verify.suite import PROBES, run
from probes.verify.target import Target
from stacks.names import GATEWAY_MODELS_FILTER as MODELS_OF_CLIENTS
from tests.support.identity_provider import IdentityProvider
from tests.support.live_gateway import CHAT_ALIAS, Change, running

pytestmark = pytest.mark.long
IDP = IdentityProvider()
Opened = Callable[[Path], contextlib.AbstractContextManager[Target]]


def _manager(document: dict[str, Any]) -> Any:
    (listener,) = document["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def _host(document: dict[str, Any]) -> Any:
    return _manager(document)["route_config"]["virtual_hosts"][0]


def _filter(document: dict[str, Any], name: str) -> Any:
    (found,) = [f for f in _manager(document)["http_filters"] if f["name"] == f"envoy.filters.http.{name}"]
    return found


def _no_keys(document: dict[str, Any]) -> None:
    _manager(document)["http_filters"].remove(_filter(document, "api_key_auth"))
    _any_model(document)  # which lets nobody on who has no name


def _no_early_removal(document: dict[str, Any]) -> None:
    del _manager(document)["early_header_mutation_extensions"]


def _every_path(document: dict[str, Any]) -> None:
    last = _host(document)["routes"][-1]
    last["route"] = {"cluster": "model_a"}
    del last["direct_response"]


def _fallback_to_an_engine(document: dict[str, Any]) -> None:
    for route in _host(document)["routes"]:
        if route["name"] == "refused":
            del route["direct_response"]
            route["route"] = {"cluster": "model_a"}


def _any_speech(document: dict[str, Any]) -> None:
    for route in _host(document)["routes"]:
        if route["match"].get("path") == SPEECH_PATH and "direct_response" in route:
            del route["direct_response"]
            route["route"] = {"cluster": "model_c"}


def _underscores(document: dict[str, Any]) -> None:
    _manager(document)["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW"


def _any_host(document: dict[str, Any]) -> None:
    hosts = _manager(document)["route_config"]["virtual_hosts"]
    del hosts[1:]
    hosts[0]["domains"] = ["*"]


def _cors(document: dict[str, Any]) -> None:
    del _manager(document)["route_config"]["response_headers_to_remove"]  # the engine allows every origin


def _preflight(document: dict[str, Any]) -> None:
    _no_keys(document)
    options = {"name": ":method", "string_match": {"exact": "OPTIONS"}}
    _host(document)["routes"].insert(
        0, {"match": {"prefix": "/", "headers": [options]}, "direct_response": {"status": 204}}
    )


def _buffer(size: int) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["static_resources"]["listeners"][0]["per_connection_buffer_limit_bytes"] = size

    return change


def _headers(document: dict[str, Any]) -> None:
    _manager(document)["max_request_headers_kb"] = 512


def _patient(document: dict[str, Any]) -> None:
    _manager(document).update(request_timeout="0s", request_headers_timeout="0s")


def _two_lengths(document: dict[str, Any]) -> None:
    _manager(document)["http_protocol_options"] = {"allow_chunked_length": True}


def _any_type(document: dict[str, Any]) -> None:
    types = ["text/plain", "multipart/form-data; boundary=a", "application/x-www-form-urlencoded"]
    _filter(document, "json_to_metadata")["typed_config"]["request_rules"]["allow_content_types"] += types


def _no_limit(document: dict[str, Any]) -> None:
    enforced = _filter(document, "local_ratelimit")["typed_config"]["filter_enforced"]
    enforced["default_value"]["numerator"] = 0


def _one_limit_for_all(document: dict[str, Any]) -> None:
    limit = _filter(document, "local_ratelimit")["typed_config"]
    limit["token_bucket"] = limit.pop("descriptors")[0]["token_bucket"]
    del limit["rate_limits"]


def _any_model(document: dict[str, Any]) -> None:
    filters = _manager(document)["http_filters"]
    filters[:] = [f for f in filters if f["name"] != MODELS_OF_CLIENTS]


def _unsaid_at_addresses(document: dict[str, Any]) -> None:
    """Routes of one model's address do not say where they lead."""
    for route in _host(document)["routes"]:
        if route["match"].get("path", "").startswith("/models/"):
            route.pop("metadata", None)


def _before_the_body(document: dict[str, Any]) -> None:
    """What a key may ask is looked at before the body has chosen the model."""
    filters = _manager(document)["http_filters"]
    (found,) = [f for f in filters if f["name"] == MODELS_OF_CLIENTS]
    filters.remove(found)
    filters.insert(2, found)


def _any_token(document: dict[str, Any]) -> None:
    """A token is looked at and need not be right, and what has no name goes on."""
    filters = _manager(document)["http_filters"]
    (auth,) = [f for f in filters if f["name"] == "token_or_key"]
    matcher = auth["typed_config"]["xds_matcher"]["matcher_list"]["matchers"][0]
    tokens = matcher["on_match"]["action"]["typed_config"]["typed_config"]["typed_config"]
    tokens["rules"][0]["requires"] = {"allow_missing_or_failed": {}}
    filters[:] = [f for f in filters if f["name"] != GATE]


def _any_token_anywhere(document: dict[str, Any]) -> None:
    """The same for every request, with a token or without one."""
    _any_token(document)
    (auth,) = [f for f in _manager(document)["http_filters"] if f["name"] == "token_or_key"]
    tree = auth["typed_config"]["xds_matcher"]
    tree["on_no_match"] = tree["matcher_list"]["matchers"][0]["on_match"]


def _swapped(document: dict[str, Any]) -> None:
    for route in _host(document)["routes"]:
        if "cluster" in route.get("route", {}):
            route["route"]["cluster"] = {"model_a": "model_b", "model_b": "model_a"}[route["route"]["cluster"]]


def _one_more_in_the_list(document: dict[str, Any]) -> None:
    answer = _host(document)["routes"][0]["direct_response"]["body"]
    answer["inline_string"] = answer["inline_string"].replace('"data": [', '"data": [{"id": "internal"}, ')


def _everything_of_a_model(document: dict[str, Any]) -> None:
    action = {"cluster": "model_a", "prefix_rewrite": "/"}
    _host(document)["routes"].insert(0, {"name": "a", "match": {"prefix": "/models/a/"}, "route": action})


def _any_model_at_an_address(document: dict[str, Any]) -> None:
    for route in _host(document)["routes"]:
        if route["name"] == "a" and route["match"].get("path", "").startswith("/models/"):
            route["match"]["headers"] = route["match"]["headers"][:1]


def _readable_cookie(document: dict[str, Any]) -> None:
    for route in _host(document)["routes"]:
        if "hash_policy" in route.get("route", {}):
            route["route"]["hash_policy"][0]["cookie"]["attributes"] = []


def _address_in_a_cookie(document: dict[str, Any]) -> None:
    """Envoy's other kind of session: its cookie names the engine, and is believed when a client sends it."""
    kind = "type.googleapis.com/envoy.extensions."
    state = {"@type": f"{kind}http.stateful_session.cookie.v3.CookieBasedSessionState", "cookie": {"name": "own"}}
    session = {
        "@type": f"{kind}filters.http.stateful_session.v3.StatefulSession",
        "session_state": {"name": "envoy.http.stateful_session.cookie", "typed_config": state},
    }
    place = len(_manager(document)["http_filters"]) - 1
    _manager(document)["http_filters"].insert(
        place, {"name": "envoy.filters.http.stateful_session", "typed_config": session}
    )


def _old_tls(document: dict[str, Any]) -> None:
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    parameters = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_params"]
    parameters["tls_minimum_protocol_version"] = "TLSv1_0"
    parameters["cipher_suites"] = ["ECDHE-ECDSA-AES128-SHA"]  # one that those versions have


def _own_errors(document: dict[str, Any]) -> None:
    del _manager(document)["local_reply_config"]


def _talkative(document: dict[str, Any]) -> None:
    _manager(document)["server_header_transformation"] = "PASS_THROUGH"


def _logs_queries(document: dict[str, Any]) -> None:
    log = _manager(document)["access_log"][0]["typed_config"]["log_format"]["json_format"]
    log["path"] = "%REQ(:PATH)%"


def _logs_nothing(document: dict[str, Any]) -> None:
    del _manager(document)["access_log"]


def _live(change: Change | None = None, tasks: dict[str, str] | None = None, **changes: Any) -> Opened:
    @contextlib.contextmanager
    def opened(folder: Path) -> Iterator[Target]:
        with running(folder, change, tasks, **changes) as made:
            yield made.target()

    return opened


@contextlib.contextmanager
def _readable_keys(folder: Path) -> Iterator[Target]:
    with running(folder) as made:
        target = made.target()
        target.private_files[0].chmod(0o644)
        yield target


@contextlib.contextmanager
def _published_engine(folder: Path) -> Iterator[Target]:
    with running(folder) as made:
        yield replace(made.target(), closed_ports=(made.engines["a"].port,))


@contextlib.contextmanager
def _elsewhere(folder: Path) -> Iterator[Target]:
    """The alias leads to both models, and the stack file says `b`."""
    alias = CHAT_ALIAS.model_copy(update={"targets": CHAT_ALIAS.targets[:1]})
    with running(folder, aliases=(alias,)) as made:
        yield replace(made.target(), aliases={"chat": ("b",)})


@contextlib.contextmanager
def _other_name(folder: Path) -> Iterator[Target]:
    with running(folder, hosts=("127.0.0.1",)) as made:
        yield replace(made.target(), host="localhost")


@contextlib.contextmanager
def _naive(folder: Path) -> Iterator[Target]:
    """A server that takes whatever comes for two requests and answers both, and becomes any protocol."""
    ready = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = ready.accept()
                with connection:
                    asked = connection.recv(65536)
                    line = b"101 Switching" if b"upgrade: " in asked else b"200 OK"
                    connection.sendall(2 * (b"HTTP/1.1 " + line + b"\r\ncontent-length: 0\r\n\r\n"))

    threading.Thread(target=serve, daemon=True).start()
    with _live()(folder) as target, ready:
        yield replace(target, port=ready.getsockname()[1], authority=None)


TABLE: dict[str, tuple[Opened, set[str]]] = {
    "no key is asked for": (
        _live(_no_keys),
        {"no-key", "wrong-key", "revoked-key", "key-prefix", "key-in-query", "list-without-key", "enumeration",
         "bypass-without-key", "too-long-without-key", "model-paths-without-key"},
    ),
    "headers of clients stay": (_live(_no_early_removal), {"bypass-with-key"}),
    "every path goes to an engine": (
        _live(_every_path), {"methods", "traversal", *(f"path {path}" for path in FORBIDDEN)}
    ),
    "an engine gets what names no model": (
        _live(_fallback_to_an_engine), {"unknown-model", "no-model", "gzipped", "bypass-with-key"}
    ),
    "underscores are let in": (_live(_underscores), {"underscores"}),
    "every Host is taken": (_live(_any_host), {"wrong-host"}),
    "other origins may call": (_live(_cors), {"no-cors"}),
    "a preflight is answered": (_live(_preflight), {"preflight"}),
    "bodies of any size": (_live(_buffer(1 << 26)), {"too-long"}),
    "bodies of 4 KiB": (_live(_buffer(4096)), {"full-length", "batch"}),
    "headers of any size": (_live(_headers), {"large-headers"}),
    "no timeouts": (_live(_patient), {"slow-body", "slow-headers"}),
    "a length beside chunks": (_live(_two_lengths), {"length-and-chunks"}),
    "a naive parser": (
        _naive, {"length-and-chunks", "two-lengths", "odd-encoding", "space-before-colon", "folded-header", "upgrade"}
    ),
    "bodies of any type": (_live(_any_type), {"other-type"}),
    "sound of any form": (
        _live(_any_speech, {"c": "transcription"}),
        {"speech-too-long", "speech-without-length", "speech-other-type"},
    ),
    "no rate limit": (_live(_no_limit), {"rate-limit"}),
    "one rate limit for all": (_live(_one_limit_for_all), {"rate-limit"}),
    "a token that nobody gave out": (_live(_any_token, oidc=IDP.plan()), {"forged-token", "claimed-name"}),
    "a token wherever it is": (_live(_any_token_anywhere, oidc=IDP.plan()), {"token-elsewhere"}),
    "a key of one model asks any": (_live(_any_model), {"narrow-key", "narrow-key-tricks"}),
    "an address that does not say its model": (_live(_unsaid_at_addresses), {"narrow-key"}),
    "models of a key before the body": (_live(_before_the_body), {"narrow-key", "narrow-key-tricks"}),
    "models mixed up": (_live(_swapped), {"right-model", "model-path-of-another"}),
    "an alias leads elsewhere": (_elsewhere, {"right-alias"}),
    "one more in the list": (_live(_one_more_in_the_list), {"listing"}),
    "all paths of one model": (_live(_everything_of_a_model), {"model-paths"}),
    "any model at the address of one": (_live(_any_model_at_an_address), {"model-path-of-another"}),
    "a cookie for everybody": (_live(_readable_cookie), {"session"}),
    "an address in a cookie": (_live(_address_in_a_cookie), {"session"}),
    "no TLS": (_live(tls="off"), {"certificate", "plain-text"}),
    "old TLS": (_live(_old_tls), {"old-tls"}),
    "a certificate of another name": (_other_name, {"certificate"}),
    "Envoy's own errors": (_live(_own_errors), {"error-shape"}),
    "the engine's Server header": (_live(_talkative), {"fingerprint"}),
    "queries in the log": (_live(_logs_queries), {"log-canary"}),
    "no log": (_live(_logs_nothing), {"log-canary"}),
    "a file that others may read": (_readable_keys, {"private-files"}),
    "an engine's port is open": (_published_engine, {"engines-closed"}),
}  # fmt: skip


@pytest.mark.parametrize("taken_away", TABLE)
def test_a_probe_finds_what_was_taken_away(taken_away: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    opened, names = TABLE[taken_away]
    with opened(tmp_path) as target:
        outcomes = run(target, [probe for probe in PROBES if probe.name in names])
    assert {o.name for o in outcomes} == names
    assert [o.name for o in outcomes if not o.finding] == []


def test_the_table_has_every_probe() -> None:
    assert {probe.name for probe in PROBES} == set().union(*(names for _, names in TABLE.values()))
