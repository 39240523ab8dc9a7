"""HTTPRoutes of a stack's Gateway: one for each model, and what answers where none of them matches."""

from __future__ import annotations

import json
from typing import Any, Final

from components.gateway.envoy_route_manifests import CORS, listing_body
from components.gateway.gateway_object_manifests import ENVOY_GATEWAY, GATEWAY_API, LISTENER, custom
from stacks import names
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.gateway import BackendPlan, GatewayPlan

FALLBACK: Final = "gateway-fallback"
_MODEL: Final = "x-model"
_OURS: Final = (_MODEL, "x-model-status")


def fallback(aibrix: AIBrixPlan, plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """Every path that models have, for requests that name none of them: answered here with 404. It is also the route
    by which Envoy decides which filters a request passes.
    """
    rule = {
        "matches": [_post(path) for path in _paths(aibrix, plan)],
        "filters": [_filter("engine-key"), _filter("not-found")],
    }
    return _route(FALLBACK, namespace, [rule])


def model_route(backend: BackendPlan, aibrix: AIBrixPlan, namespace: str) -> dict[str, Any]:
    """One model's."""
    named = {"headers": [{"type": "Exact", "name": _MODEL, "value": backend.model}]}
    paths = aibrix.rerank_paths if backend.task == "rerank" else aibrix.paths
    rule = {
        "matches": [{**_post(path), **named} for path in paths],
        "filters": [
            _filter("engine-key"),
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": list(_OURS)}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": list(CORS)}},
        ],
        "backendRefs": [{"group": "", "kind": "Service", "name": backend.model, "port": backend.port, "weight": 1}],
        "timeouts": {"request": "0s"},
    }
    return _route(route_name(backend.model), namespace, [rule])


def listing(namespace: str) -> dict[str, Any]:
    """`GET /v1/models`: what the stack has."""
    match = {"path": {"type": "Exact", "value": "/v1/models"}, "method": "GET"}
    return _route("gateway-listing", namespace, [{"matches": [match], "filters": [_filter("listing")]}])


def closed(namespace: str) -> dict[str, Any]:
    """All other paths and methods: a key is asked for there too, and then there is nothing."""
    match = {"path": {"type": "PathPrefix", "value": "/"}}
    return _route("gateway-closed", namespace, [{"matches": [match], "filters": [_filter("not-found")]}])


def route_name(model: str) -> str:
    """The HTTPRoute of a model, whose name none of the gateway's own can have."""
    return f"model-{model}"


def filters(plan: GatewayPlan, namespace: str) -> dict[str, dict[str, Any]]:
    """What routes do beside routing, by name: put the engines' key in, or answer."""
    missing = error_body("invalid_request_error", "not_found", "there is no such model or path")
    key = {"valueRef": {"group": "", "kind": "Secret", "name": names.GATEWAY_ENGINE_SECRET}}
    specs: dict[str, dict[str, Any]] = {
        "engine-key": {"credentialInjection": {"header": "Authorization", "overwrite": True, "credential": key}},
        "not-found": {"directResponse": _answer(404, missing)},
        "listing": {"directResponse": _answer(200, listing_body(plan.names))},
    }
    return {
        name: custom(ENVOY_GATEWAY, "HTTPRouteFilter", f"gateway-{name}", namespace, spec)
        for name, spec in specs.items()
    }


def error_body(kind: str, code: str, message: str) -> str:
    """An error as OpenAI's clients read it."""
    return json.dumps({"error": {"message": message, "type": kind, "code": code, "param": None}})


def _answer(status: int, text: str) -> dict[str, Any]:
    return {"statusCode": status, "contentType": "application/json", "body": {"type": "Inline", "inline": text}}


def _paths(aibrix: AIBrixPlan, plan: GatewayPlan) -> list[str]:
    rerank = any(backend.task == "rerank" for backend in plan.backends)
    return [*aibrix.paths, *(aibrix.rerank_paths if rerank else ())]


def _post(path: str) -> dict[str, Any]:
    return {"path": {"type": "Exact", "value": path}, "method": "POST"}


def _filter(name: str) -> dict[str, Any]:
    return {
        "type": "ExtensionRef",
        "extensionRef": {"group": ENVOY_GATEWAY, "kind": "HTTPRouteFilter", "name": f"gateway-{name}"},
    }


def _route(name: str, namespace: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    parent = {"group": GATEWAY_API, "kind": "Gateway", "name": names.GATEWAY, "sectionName": LISTENER}
    return custom(GATEWAY_API, "HTTPRoute", name, namespace, {"parentRefs": [parent], "rules": rules})
