"""Envoy Gateway's policies around a stack's Gateway: what may be sent, by whom, how much, and who chooses the replica.

Envoy decides which filters a request passes by the first route that matches, which is the fallback: x-model is not
there yet. So whatever must run is on the Gateway, or on the fallback too.
"""

from __future__ import annotations

from typing import Any, Final

from components.gateway.envoy_error_manifests import local_replies
from components.gateway.envoy_route_manifests import COOKIE_SECONDS, unknown_host
from components.gateway.envoy_shared_manifests import (
    BODY_FILTER,
    MAX_HEADERS,
    NOT_FROM_CLIENTS,
    SERVER_NAME,
    body_to_metadata,
    metadata_to_headers,
    rate_limit,
)
from components.gateway.gateway_object_manifests import (
    ACCEPTED,
    ENVOY_GATEWAY,
    GATEWAY_API,
    LISTENER,
    PROGRAMMED,
    custom,
    of_gateway,
)
from components.gateway.gateway_route_manifests import clusters, routed
from stacks import names
from stacks.plan.aibrix import AIBrixPlan
from stacks.plan.gateway import GatewayPlan

_TARGET_POD: Final = "target-pod"  # what the plugin names the replica in: HeaderTargetPod, pkg/plugins/gateway/types.go
_TYPE: Final = "type.googleapis.com/envoy.config."
_POLICY: Final = "/load_balancing_policy/policies/0/typed_extension_config/typed_config"
_MANAGER: Final = "$..filters[?(@.name=='envoy.filters.network.http_connection_manager')]"
"""Where the listener has it: behind the filter that counts connections, in a chain of TLS or in the default one."""


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
    """Who is asked, how, and when not."""
    health = {backend.health_path for backend in plan.backends}
    return custom(
        ENVOY_GATEWAY, "BackendTrafficPolicy", names.GATEWAY, namespace,
        {
            "targetRefs": [of_gateway()],
            "loadBalancer": _balancing(plan),
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
                # a replica to which no connection can be made; what it answers never counts
                "passive": {
                    "splitExternalLocalOriginErrors": True,
                    "consecutiveLocalOriginFailures": 5,
                    "consecutive5XxErrors": 0,
                    "consecutiveGatewayErrors": 0,
                    "interval": "5s",
                    "baseEjectionTime": "10s",
                    "maxEjectionPercent": 50,
                },
            },
        },
        wait=ACCEPTED,
    )  # fmt: skip


def routing(aibrix: AIBrixPlan, plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """AIBrix' plugin sees headers and body of each request for a model, and its answer; without it there is none."""
    return custom(
        ENVOY_GATEWAY, "EnvoyExtensionPolicy", names.GATEWAY, namespace,
        {
            "targetRefs": [{"group": GATEWAY_API, "kind": "HTTPRoute", "name": name} for name in routed(plan)],
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


def envoy(plan: GatewayPlan, namespace: str) -> dict[str, Any]:
    """What no other object can say: the body's `model` becomes x-model, read behind keys and limits and before all
    else; limits hold for what Envoy answers itself, too, and for all routes of a key together; errors are OpenAI's;
    names of other hosts are refused; and a few limits of headers.
    """
    listener = f"{namespace}/{names.GATEWAY}/{LISTENER}"
    # all at place 1, behind the keys, which are first: the last addition comes before the others
    filters = (
        {"name": "envoy.filters.http.header_mutation", "typed_config": metadata_to_headers()},
        {"name": BODY_FILTER, "typed_config": body_to_metadata()},
        {"name": "envoy.filters.http.local_ratelimit", "typed_config": rate_limit(plan)},
    )
    manager: list[tuple[str, Any]] = [("http_filters/1", value) for value in filters]
    manager += [
        ("local_reply_config", local_replies(plan)),
        ("max_request_headers_kb", plan.header_kib),
        ("common_http_protocol_options/max_headers_count", MAX_HEADERS),
        ("server_name", SERVER_NAME),
        ("server_header_transformation", "OVERWRITE"),
    ]
    patches = [
        _patch(
            "listener", listener, {"op": "add", "jsonPath": _MANAGER, "path": f"/typed_config/{path}", "value": value}
        )
        for path, value in manager
    ]
    hosts = {"op": "replace", "path": "/virtual_hosts/0/domains", "value": list(plan.hosts)}
    others = {"op": "add", "path": "/virtual_hosts/-", "value": unknown_host()}
    patches += [_patch("route", listener, operation) for operation in (hosts, others)]
    # Envoy Gateway makes one cluster of an alias' models, by whose weights a balancer by hash does not go by itself
    shared = [alias.name for alias in plan.aliases if plan.affinity and len(alias.targets) > 1]
    weighted = {"op": "add", "path": f"{_POLICY}/locality_weighted_lb_config", "value": {}}
    patches += [_patch("cluster", cluster, weighted) for name in shared for cluster in clusters(name, namespace)]
    spec = {"targetRef": of_gateway(), "type": "JSONPatch", "jsonPatches": patches}
    return custom(ENVOY_GATEWAY, "EnvoyPatchPolicy", names.GATEWAY, namespace, spec, wait=PROGRAMMED)


def _patch(kind: str, name: str, operation: dict[str, Any]) -> dict[str, Any]:
    message = {"listener": "Listener", "route": "RouteConfiguration", "cluster": "Cluster"}[kind]
    return {"type": f"{_TYPE}{kind}.v3.{message}", "name": name, "operation": operation}


def _balancing(plan: GatewayPlan) -> dict[str, Any]:
    """The replica that AIBrix' plugin named, if it is one of the model's own (upstream routes to any address, by
    ORIGINAL_DST); one for each session; or the one with the fewest requests.
    """
    if plan.aibrix:
        return {"type": "LeastRequest", "endpointOverride": {"extractFrom": [{"header": _TARGET_POD}]}}
    if plan.affinity is None:
        return {"type": "LeastRequest"}
    if plan.affinity.by == "header":
        return {
            "type": "ConsistentHash",
            "consistentHash": {"type": "Headers", "headers": [{"name": plan.affinity.name}]},
        }
    secure = {"Secure": ""} if plan.tls != "off" else {}
    cookie = {
        "name": plan.affinity.name,
        "ttl": f"{COOKIE_SECONDS}s",
        "attributes": {"SameSite": "Strict", **secure},
    }
    return {"type": "ConsistentHash", "consistentHash": {"type": "Cookie", "cookie": cookie}}
