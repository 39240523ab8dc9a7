"""The gateway as the configuration of an Envoy without a control plane. No secret is in it: keys, the key of the
engines and the certificate are files beside it, which Envoy reads again when they are replaced.
"""

from __future__ import annotations

import json
from typing import Any, Final

from components.gateway import envoy_oidc_manifests as oidc
from components.gateway.envoy_error_manifests import local_replies
from components.gateway.envoy_route_manifests import cluster, routes
from components.gateway.envoy_shared_manifests import (
    BODY_FILTER,
    MAX_HEADERS,
    NOT_FROM_CLIENTS,
    SERVER_NAME,
    access_log_line,
    body_to_metadata,
    metadata_to_headers,
    rate_limit,
)
from stacks import names
from stacks.plan.gateway import BackendPlan, GatewayPlan

_TYPE: Final = "type.googleapis.com/envoy.extensions."
_HEALTH_SECONDS: Final = 5
_MIB: Final = 2**20
_OUTLIERS: Final = {
    # a replica to which no connection can be made is left out for a while. What it answers never counts: a client that
    # provokes errors would close the model for all others
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 5,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_success_rate": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "interval": "5s",
    "base_ejection_time": "10s",
    "max_ejection_percent": 50,
}


def bootstrap(plan: GatewayPlan, *, folder: str = names.GATEWAY_FOLDER, listen: tuple[str, int] | None = None) -> str:
    """The bootstrap file as JSON. `folder` holds the other files; `listen` is where Envoy itself listens, by default on
    every address of its container, at the plan's port.
    """
    address, port = listen or ("0.0.0.0", plan.port)  # noqa: S104  (the container's own; Docker publishes as planned)
    document = {
        "node": {"id": "gateway", "cluster": "local-ai-lab"},
        "static_resources": {
            "listeners": [_listener(plan, folder, address, port)],
            "clusters": [
                *(_cluster(backend, plan) for backend in plan.backends),
                *(oidc.clusters(plan.oidc) if plan.oidc else ()),
            ],
        },
        "overload_manager": _overload(plan),
        # no admin interface: it would show the keys
    }
    return json.dumps(document, indent=1)


def file_source(folder: str, name: str) -> dict[str, Any]:
    """A resource that Envoy reads from a file, and again when the file is replaced."""
    watched = {"path": f"{folder}/{name}", "watched_directory": {"path": folder}}
    return {"path_config_source": watched, "resource_api_version": "V3"}


def _listener(plan: GatewayPlan, folder: str, address: str, port: int) -> dict[str, Any]:
    chain: dict[str, Any] = {
        "filters": [_typed("envoy.filters.network.http_connection_manager", _manager(plan, folder))]
    }
    if plan.tls == "ownCa":
        tls = {
            "@type": f"{_TYPE}transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_certificate_sds_secret_configs": [
                    {"name": "certificate", "sds_config": file_source(folder, "certificate.json")}
                ],
            },
        }
        chain["transport_socket"] = _typed("envoy.transport_sockets.tls", tls)
        chain["transport_socket_connect_timeout"] = "10s"
    return {
        "name": "gateway",
        "address": {"socket_address": {"address": address, "port_value": port}},
        "per_connection_buffer_limit_bytes": plan.request_buffer_bytes,
        "filter_chains": [chain],
    }


def _manager(plan: GatewayPlan, folder: str) -> dict[str, Any]:
    """The HTTP connection manager: what is refused at once, then filters in an order that matters."""
    own = (*NOT_FROM_CLIENTS, *((oidc.CLAIM_HEADER,) if plan.oidc else ()))
    early: list[dict[str, Any]] = [{"remove": name} for name in own]
    early.append({"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}})
    return {
        "@type": f"{_TYPE}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "server_name": SERVER_NAME,
        "use_remote_address": True,
        "internal_address_config": {"unix_sockets": False},
        "strip_any_host_port": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": plan.header_kib,
        "common_http_protocol_options": {
            "idle_timeout": "900s",
            "max_headers_count": MAX_HEADERS,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        # a stream may hold back as much as the connection, or a body over HTTP/2 would have a limit of its own
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": plan.request_buffer_bytes,
            "initial_connection_window_size": 2 * plan.request_buffer_bytes,
        },
        "request_headers_timeout": f"{min(plan.body_seconds, 10)}s",
        "request_timeout": f"{plan.body_seconds}s",
        "stream_idle_timeout": f"{plan.idle_seconds}s",
        "early_header_mutation_extensions": [
            _typed(
                "early_removal",
                {"@type": f"{_TYPE}http.early_header_mutation.header_mutation.v3.HeaderMutation", "mutations": early},
            )
        ],
        "http_filters": [
            # keys first and for every path: no body is read without one
            *_authentication(plan, folder),
            _typed("envoy.filters.http.local_ratelimit", rate_limit(plan)),
            _typed(BODY_FILTER, body_to_metadata()),
            _typed("envoy.filters.http.header_mutation", metadata_to_headers()),
            # behind the model, so that it sees the route that the body has chosen, as the router does
            _from_file(
                names.GATEWAY_MODELS_FILTER, f"{_TYPE}filters.http.rbac.v3.RBAC", folder, names.GATEWAY_MODELS_FILE
            ),
            _typed("envoy.filters.http.credential_injector", _engine_key(folder)),
            _typed(
                "envoy.filters.http.router",
                {"@type": f"{_TYPE}filters.http.router.v3.Router", "suppress_envoy_headers": True},
            ),
        ],
        "route_config": routes(plan),
        "local_reply_config": local_replies(plan),
        "access_log": [_access_log()],
    }


def _authentication(plan: GatewayPlan, folder: str) -> list[dict[str, Any]]:
    kind = f"{_TYPE}filters.http.api_key_auth.v3.ApiKeyAuth"
    keys = _from_file("envoy.filters.http.api_key_auth", kind, folder, "keys.json")
    return oidc.filters(plan.oidc, keys["config_discovery"]) if plan.oidc else [keys]


def _engine_key(folder: str) -> dict[str, Any]:
    """The key between the gateway and the engines, instead of the client's."""
    credential = {
        "@type": f"{_TYPE}http.injected_credentials.generic.v3.Generic",
        "credential": {"name": "engine_key", "sds_config": file_source(folder, "engine-key.json")},
        "header": "authorization",
    }
    return {
        "@type": f"{_TYPE}filters.http.credential_injector.v3.CredentialInjector",
        "credential": _typed("envoy.http.injected_credentials.generic", credential),
        "overwrite": True,
    }


def _access_log() -> dict[str, Any]:
    kind = f"{_TYPE}access_loggers.stream.v3.StdoutAccessLog"
    return _typed("envoy.access_loggers.stdout", {"@type": kind, "log_format": {"json_format": access_log_line()}})


def _cluster(backend: BackendPlan, plan: GatewayPlan) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": backend.host, "port_value": backend.port}}}
    balancing = "MAGLEV" if plan.affinity else "LEAST_REQUEST"
    limits = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}  # the engine has the queue
    return {
        "name": cluster(backend.model),
        "type": "STRICT_DNS",
        "lb_policy": balancing,
        "dns_lookup_family": "V4_ONLY",
        "dns_refresh_rate": "5s",
        "connect_timeout": "2s",
        "per_connection_buffer_limit_bytes": plan.response_buffer_bytes,
        "load_assignment": {
            "cluster_name": cluster(backend.model),
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
        "circuit_breakers": {"thresholds": [limits]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},  # nobody is asked who is not there
        "outlier_detection": _OUTLIERS,
        "health_checks": [
            {
                "timeout": f"{_HEALTH_SECONDS}s",
                "interval": f"{_HEALTH_SECONDS}s",
                "no_traffic_interval": f"{_HEALTH_SECONDS}s",
                "unhealthy_interval": "1s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 1,
                "http_health_check": {"path": backend.health_path},
            }
        ],
    }


def _overload(plan: GatewayPlan) -> dict[str, Any]:
    """Limits of the whole process: connections, and memory below the container's limit."""
    monitors = f"{_TYPE}resource_monitors."
    heap = {"@type": f"{monitors}fixed_heap.v3.FixedHeapConfig", "max_heap_size_bytes": plan.memory_mib * _MIB}
    connections = {
        "@type": f"{monitors}downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": plan.connections,
    }
    full = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.9}}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            _typed("envoy.resource_monitors.fixed_heap", heap),
            _typed("envoy.resource_monitors.global_downstream_max_connections", connections),
        ],
        "actions": [{"name": "envoy.overload_actions.stop_accepting_requests", "triggers": [full]}],
    }


def _typed(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": config}


def _from_file(name: str, kind: str, folder: str, file: str) -> dict[str, Any]:
    return {"name": name, "config_discovery": {"config_source": file_source(folder, file), "type_urls": [kind]}}
