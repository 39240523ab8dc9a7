"""Envoy Gateway's policies around a stack's Gateway: what may be sent, by whom, how much, and who chooses the replica.

Envoy decides which filters a request passes by the first route that matches, which is the fallback: x-model is not
there yet. So whatever must run is on the Gateway, or on the fallback too.
"""

from __future__ import annotations

from typing import Any, Final

from components.gateway.envoy_manifests import NOT_FROM_CLIENTS, body_to_metadata, metadata_to_headers
from components.gateway.gateway_object_manifests import (
    ACCEPTED,
    ENVOY_GATEWAY,
    GATEWAY_API,
    LISTENER,
    PROGRAMMED,
    custom,
    of_gateway,
)
from components.gateway.gateway_route_manifests import FALLBACK, error_body, route_name
from stacks import names
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.gateway import GatewayPlan

_TARGET_POD: Final = "target-pod"  # what the plugin names the replica in: HeaderTargetPod, pkg/plugins/gateway/types.go
_LISTENER_TYPE: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
_ERRORS: Final = {
    401: ("invalid_request_error", "invalid_api_key", "no key, or one that is not known"),
    413: ("invalid_request_error", "request_too_large", "the request is longer than the gateway takes"),
    429: ("rate_limit_error", "rate_limit_exceeded", "more requests than allowed; try again in a minute"),
    503: ("api_error", "service_unavailable", "the model starts or has stopped; try again"),
}
_RETRY_AFTER: Final = {429: "60", 503: "10"}


def client_traffic(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """What a client may send, and for how long; headers that choose a backend or a client are gone before any route."""
    tls = {"tls": {"minVersion": "1.2", "alpnProtocols": ["h2", "http/1.1"]}} if plan.tls == "ownCa" else {}
    return custom(
        ENVOY_GATEWAY, "ClientTrafficPolicy", names.GATEWAY, namespace,
        {
            "targetRefs": [of_gateway()],
            "connection": {
                "bufferLimit": plan.request_buffer_bytes, "connectionLimit": {"value": plan.connections},
            },
            "headers": {
                "earlyRequestHeaders": {
                    "remove": list(NOT_FROM_CLIENTS),
                    "removeOnMatch": [{"type": "Prefix", "value": "x-envoy-"}],
                },
                "requestID": "Generate",
                "withUnderscoresAction": "RejectRequest",
            },
            "http2": {
                "maxConcurrentStreams": 100,
                "initialStreamWindowSize": plan.request_buffer_bytes,
                "initialConnectionWindowSize": 2 * plan.request_buffer_bytes,
            },
            "path": {"escapedSlashesAction": "RejectRequest"},
            "timeout": {
                "http": {
                    "idleTimeout": "900s",
                    "requestHeadersReceivedTimeout": "10s",
                    "requestReceivedTimeout": f"{plan.body_seconds}s",
                    "streamIdleTimeout": f"{plan.idle_seconds}s",
                },
            },
            **tls,
        },
        wait=ACCEPTED,
    )  # fmt: skip


def security(namespace: str) -> dict[str, Any]:
    """A key on every route: on the Gateway, because a policy of a route would take this one's place."""
    keys = {
        "credentialRefs": [{"group": "", "kind": "Secret", "name": names.GATEWAY_CLIENTS_SECRET}],
        "extractFrom": [{"headers": ["Authorization"]}],
        "forwardClientIDHeader": names.CLIENT_HEADER,
        "sanitize": True,
    }
    spec = {"targetRefs": [of_gateway()], "apiKeyAuth": keys}
    return custom(ENVOY_GATEWAY, "SecurityPolicy", names.GATEWAY, namespace, spec, wait=ACCEPTED)


def backend_traffic(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """Limits of each client and of all, and the replica: the one that the plugin named, if it is one of the model's.

    A header chooses among a Service's own endpoints only. Upstream routes it to any address (ORIGINAL_DST).
    """
    client = {"headers": [{"name": names.CLIENT_HEADER, "type": "Distinct"}]}
    each = {"limit": {"requests": plan.requests_per_minute, "unit": "Minute"}, "clientSelectors": [client]}
    together = {"limit": {"requests": plan.total_requests_per_minute, "unit": "Minute"}}
    health = {backend.health_path for backend in plan.backends}
    return custom(
        ENVOY_GATEWAY, "BackendTrafficPolicy", names.GATEWAY, namespace,
        {
            "targetRefs": [of_gateway()],
            "rateLimit": {"type": "Local", "local": {"rules": [each, together]}},
            "loadBalancer": {
                "type": "LeastRequest", "endpointOverride": {"extractFrom": [{"header": _TARGET_POD}]},
            },
            "connection": {"bufferLimit": plan.response_buffer_bytes},
            # answers may last as long as they stream; the engine has the queue
            "timeout": {"tcp": {"connectTimeout": "2s"}, "http": {"requestTimeout": "0s"}},
            "circuitBreaker": {"maxConnections": 4096, "maxParallelRequests": 4096, "maxPendingRequests": 4096},
            # only what the engine has not seen is sent again
            "retry": {"numRetries": 1, "retryOn": {"triggers": ["connect-failure", "refused-stream"]}},
            "healthCheck": {
                "panicThreshold": 0,
                "active": {
                    "type": "HTTP",
                    "http": {"path": min(health, default="/health"), "expectedStatuses": [200]},
                    "interval": f"{names.HEALTH_SECONDS}s",
                    "timeout": f"{names.HEALTH_SECONDS}s",
                    "unhealthyThreshold": 3,
                    "healthyThreshold": 1,
                },
            },
            "responseOverride": [_error(status) for status in _ERRORS],
        },
        wait=ACCEPTED,
    )  # fmt: skip


def routing(aibrix: AIBrixPlan, plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """AIBrix' plugin sees headers and body of each request for a model, and its answer; without it there is none."""
    routes = [FALLBACK, *(route_name(backend.model) for backend in plan.backends)]
    return custom(
        ENVOY_GATEWAY, "EnvoyExtensionPolicy", names.GATEWAY, namespace,
        {
            "targetRefs": [{"group": GATEWAY_API, "kind": "HTTPRoute", "name": name} for name in routes],
            "extProc": [
                {
                    "backendRefs": [
                        {"group": "", "kind": "Service", "name": names.AIBRIX_PLUGIN, "port": names.AIBRIX_PORT}
                    ],
                    "failOpen": False,
                    "messageTimeout": f"{aibrix.message_seconds}s",
                    "processingMode": {"request": {"body": "Buffered"}, "response": {"body": "Streamed"}},
                }
            ],
        },
        wait=ACCEPTED,
    )  # fmt: skip


def body(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """The body's `model` becomes x-model, before every other filter: two additions at index 0, the last one first."""
    chain = "filter_chains/0" if plan.tls == "ownCa" else "default_filter_chain"
    path = f"/{chain}/filters/0/typed_config/http_filters/0"
    filters = (
        {"name": "envoy.filters.http.header_mutation", "typed_config": metadata_to_headers()},
        {"name": "envoy.filters.http.json_to_metadata", "typed_config": body_to_metadata()},
    )
    patches = [
        {
            "type": _LISTENER_TYPE,
            "name": f"{namespace}/{names.GATEWAY}/{LISTENER}",
            "operation": {"op": "add", "path": path, "value": value},
        }
        for value in filters
    ]
    spec = {"targetRef": of_gateway(), "type": "JSONPatch", "jsonPatches": patches}
    return custom(ENVOY_GATEWAY, "EnvoyPatchPolicy", names.GATEWAY, namespace, spec, wait=PROGRAMMED)


def _error(status: int) -> dict[str, Any]:
    """What Envoy itself says, in the shape that OpenAI's clients read; engines' own errors pass as they are."""
    retry = (
        {"header": {"set": [{"name": "retry-after", "value": _RETRY_AFTER[status]}]}} if status in _RETRY_AFTER else {}
    )
    text = {"type": "Inline", "inline": error_body(*_ERRORS[status])}
    return {
        "source": "Local",
        "match": {"statusCodes": [{"type": "Value", "value": status}]},
        "response": {"contentType": "application/json", "body": text, **retry},
    }
