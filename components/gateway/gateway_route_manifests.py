"""HTTPRoutes of a stack's Gateway: one for each model and alias, and what answers where none of them matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from components.gateway.envoy_route_manifests import CORS, listing_body, model_body
from components.gateway.gateway_object_manifests import ENVOY_GATEWAY, GATEWAY_API, LISTENER, custom
from stacks import names
from stacks.plan.envoy_gateway import EnvoyGatewayPlan
from stacks.plan.gateway import GatewayPlan

FALLBACK: Final = "gateway-fallback"
_MODEL, _STATUS = "x-model", "x-model-status"
_REFUSALS: Final = {
    "unknown-model": (404, "There is no such model here: see /v1/models"),
    "wrong-address": (404, "At this address there is another model"),
    "unreadable": (400, "The body is not JSON that can be read"),
    "no-model": (400, "The body says no model"),
    "not-json": (400, "The body must be JSON that names a model, sent as content-type: application/json"),
    "nothing": (404, "There is nothing at this address"),
}
"""Texts: the listener makes OpenAI's errors of them, as of all that Envoy says itself."""

_SAYS_ANY: Final = {"type": "RegularExpression", "name": _MODEL, "value": "(?s).+"}


def routes(own: EnvoyGatewayPlan, plan: GatewayPlan, namespace: str) -> list[tuple[str, dict[str, Any]]]:
    """All of them by their names in the program: what refuses first, then one for each name of a model."""
    found = [
        ("gateway-closed", _closed(namespace)),
        ("gateway-listing", _listing(namespace)),
        ("gateway-fallback", _fallback(own, plan, namespace)),
    ]
    shared = {alias.name: tuple((target.model, target.weight) for target in alias.targets) for alias in plan.aliases}
    for name in plan.names:
        targets = shared.get(name) or ((plan.models[name].model, 1),)
        found.append((f"{name}-route", _to_engine(own, plan, name, targets, namespace)))
    return found


def route_name(name: str) -> str:
    """The HTTPRoute of a model, an adapter or an alias; none of the gateway's own can have its name."""
    return f"model-{name}"


def routed(plan: GatewayPlan) -> list[str]:
    """The HTTPRoutes that lead to engines, and the one by which Envoy decides what runs before it has read a body."""
    return [FALLBACK, *(route_name(name) for name in plan.names)]


def clusters(name: str, namespace: str) -> list[str]:
    """What Envoy Gateway calls the clusters of a name's two rules that lead to engines."""
    return [f"httproute/{namespace}/{route_name(name)}/rule/{rule}" for rule in (0, 1)]


def filters(plan: GatewayPlan, namespace: str) -> dict[str, dict[str, Any]]:
    """What routes do beside routing, by name: put the engines' key in, cut an address off, or answer."""
    key = {"valueRef": {"group": "", "kind": "Secret", "name": names.GATEWAY_ENGINE_SECRET}}
    below = {"pattern": "^/models/[^/]+/v1/", "substitution": "/v1/"}
    specs: dict[str, dict[str, Any]] = {
        "engine-key": {"credentialInjection": {"header": "Authorization", "overwrite": True, "credential": key}},
        "below-v1": {"urlRewrite": {"path": {"type": "ReplaceRegexMatch", "replaceRegexMatch": below}}},
        "listing": _document(listing_body(plan.names)),
        **{name: _answer(status, text) for name, (status, text) in _REFUSALS.items()},
    }
    for name in plan.names:
        specs[f"listing-{name}"] = _document(listing_body([name]))
        specs[f"about-{name}"] = _document(model_body(name))
    return {
        name: custom(ENVOY_GATEWAY, "HTTPRouteFilter", f"gateway-{name}", namespace, spec)
        for name, spec in specs.items()
    }


def _to_engine(
    own: EnvoyGatewayPlan, plan: GatewayPlan, name: str, targets: Sequence[tuple[str, int]], namespace: str
) -> dict[str, Any]:
    """Requests for a model, an adapter of one, or an alias, which are shared by weight; and its own address, which also
    takes a body that names none. Envoy decides by the first route that matches, before it has read the body, which
    filters run: that one answers by itself, and has the engines' key too.
    """
    paths = _paths(own, plan, [model for model, _ in targets])
    ours = [f"/models/{name}{path}" for path in paths]
    backends = {
        "backendRefs": [
            {"group": "", "kind": "Service", "name": model, "port": names.HTTP_PORT, "weight": weight}
            for model, weight in targets
        ],
        "timeouts": {"request": "0s"},
    }
    plain: list[dict[str, Any]] = [
        _filter("engine-key"),
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": [_MODEL, _STATUS]}},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": list(CORS)}},
    ]
    rules = [
        {"matches": [_post(path, _says(name)) for path in paths], "filters": plain, **backends},
        {
            "matches": [_post(path, says) for path in ours for says in (_says(name), _status("missing"))],
            "filters": [*plain, _filter("below-v1")],
            **backends,
        },
        _refusal([_post(path, _status("invalid")) for path in ours], "unreadable"),
        _refusal([_post(path, _SAYS_ANY) for path in ours], "wrong-address"),
        _refusal([_post(path) for path in ours], "not-json"),
        {"matches": [_get(f"/v1/models/{name}")], "filters": [_filter(f"about-{name}")]},
        {"matches": [_get(f"/models/{name}/v1/models")], "filters": [_filter(f"listing-{name}")]},
    ]
    return _route(route_name(name), namespace, rules)


def _fallback(own: EnvoyGatewayPlan, plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """Every path that models have, for requests that name none of them."""
    paths = _paths(own, plan, [backend.model for backend in plan.backends])
    rules = [
        _refusal([_post(path, _status("invalid")) for path in paths], "unreadable"),
        _refusal([_post(path, _status("missing")) for path in paths], "no-model"),
        _refusal([_post(path, _SAYS_ANY) for path in paths], "unknown-model"),
        _refusal([_post(path) for path in paths], "not-json"),
    ]
    return _route(FALLBACK, namespace, rules)


def _listing(namespace: str) -> dict[str, Any]:
    """`GET /v1/models`: what the stack has."""
    rules = [{"matches": [_get("/v1/models")], "filters": [_filter("listing")]}]
    return _route("gateway-listing", namespace, rules)


def _closed(namespace: str) -> dict[str, Any]:
    """All other paths and methods: a key is asked for there too, and then there is nothing."""
    match = {"path": {"type": "PathPrefix", "value": "/"}}
    return _route("gateway-closed", namespace, [{"matches": [match], "filters": [_filter("nothing")]}])


def _paths(own: EnvoyGatewayPlan, plan: GatewayPlan, models: Sequence[str]) -> list[str]:
    rerank = any(backend.task == "rerank" for backend in plan.backends if backend.model in models)
    return [*own.paths, *(own.rerank_paths if rerank else ())]


def _refusal(matches: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {"matches": matches, "filters": [_filter("engine-key"), _filter(name)]}


def _answer(status: int, text: str) -> dict[str, Any]:
    return {"directResponse": {"statusCode": status, "body": {"type": "Inline", "inline": text}}}


def _document(text: str) -> dict[str, Any]:
    answer = _answer(200, text)["directResponse"]
    return {"directResponse": {**answer, "contentType": "application/json"}}


def _says(name: str) -> dict[str, str]:
    return {"type": "Exact", "name": _MODEL, "value": name}


def _status(word: str) -> dict[str, str]:
    return {"type": "Exact", "name": _STATUS, "value": word}


def _post(path: str, *headers: dict[str, str]) -> dict[str, Any]:
    match: dict[str, Any] = {"path": {"type": "Exact", "value": path}, "method": "POST"}
    return {**match, "headers": list(headers)} if headers else match


def _get(path: str) -> dict[str, Any]:
    return {"path": {"type": "Exact", "value": path}, "method": "GET"}


def _filter(name: str) -> dict[str, Any]:
    return {
        "type": "ExtensionRef",
        "extensionRef": {"group": ENVOY_GATEWAY, "kind": "HTTPRouteFilter", "name": f"gateway-{name}"},
    }


def _route(name: str, namespace: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    parent = {"group": GATEWAY_API, "kind": "Gateway", "name": names.GATEWAY, "sectionName": LISTENER}
    return custom(GATEWAY_API, "HTTPRoute", name, namespace, {"parentRefs": [parent], "rules": rules})
