"""An Envoy configuration made of Gateway API objects in the form that Envoy Gateway gives it: filters that are off in
the chain and that routes turn on, limits on routes, a balancer that a header overrides. It knows what our objects use,
as the golden files of Envoy Gateway 1.9.0 show it (internal/xds/translator/testdata/out/xds-ir), and no more: it is no
substitute for the controller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

Objects = Mapping[tuple[str, str], dict[str, Any]]
"""(kind, name) -> spec."""

PLUGIN_SAYS: Final = "x-plugin-says"
"""Stands in for AIBrix' plugin: what a request says here becomes target-pod, after keys, as the plugin would set it."""

_TYPE: Final = "type.googleapis.com/envoy.extensions."
_KEYS: Final = "envoy.filters.http.api_key_auth"
_LIMIT: Final = "envoy.filters.http.local_ratelimit"
_UNITS: Final = {"Minute": "60s"}


def bootstrap(
    made: Objects, listen: int, keys: Mapping[str, str], endpoints: Mapping[str, list[int]], sds: Path
) -> str:
    """`keys` are clients' by name, `endpoints` the ports of each Service, `sds` the file with what engines are sent."""
    routes = sorted((route for route in _routes(made)), key=lambda route: -route["rank"])
    table = [_route(route, made, keys) for route in routes]
    listener = {
        "name": "clients",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "per_connection_buffer_limit_bytes": made["ClientTrafficPolicy", "gateway"]["connection"]["bufferLimit"],
        "default_filter_chain": {"filters": [_manager(made, table, sds)]},
    }
    _patch(listener, made["EnvoyPatchPolicy", "gateway"])
    clusters = [_cluster(made, service, ports) for service, ports in endpoints.items()]
    node = {"id": "gateway", "cluster": "gateway"}
    return json.dumps({"node": node, "static_resources": {"listeners": [listener], "clusters": clusters}})


def _manager(made: Objects, table: list[dict[str, Any]], sds: Path) -> dict[str, Any]:
    early = made["ClientTrafficPolicy", "gateway"]["headers"]["earlyRequestHeaders"]
    mutations = [{"remove": name} for name in early["remove"]]
    to_pod = {
        "header": {"key": "target-pod", "value": f"%REQ({PLUGIN_SAYS})%"},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    told = {"mutations": {"request_mutations": [{"append": to_pod}]}}
    injected = {
        "@type": f"{_TYPE}http.injected_credentials.generic.v3.Generic",
        "credential": {"name": "engine_key", "sds_config": {"path_config_source": {"path": str(sds)}}},
        "header": made["HTTPRouteFilter", "gateway-engine-key"]["credentialInjection"]["header"],
    }
    credential = {"name": "envoy.http.injected_credentials.generic", "typed_config": injected}
    overwrite = made["HTTPRouteFilter", "gateway-engine-key"]["credentialInjection"]["overwrite"]
    filters = [
        {**_filter(_KEYS, "filters.http.api_key_auth.v3.ApiKeyAuth", {}), "disabled": True},
        _filter("envoy.filters.http.header_mutation/plugin", "filters.http.header_mutation.v3.HeaderMutation", told),
        _filter(_LIMIT, "filters.http.local_ratelimit.v3.LocalRateLimit", {"stat_prefix": "limit"}),
        {
            **_filter(
                _credential_name("gateway-engine-key"), "filters.http.credential_injector.v3.CredentialInjector",
                {"credential": credential, "overwrite": overwrite},
            ),
            "disabled": True,
        },
        _filter("envoy.filters.http.router", "filters.http.router.v3.Router", {}),
    ]  # fmt: skip
    config = {
        "stat_prefix": "gateway",
        "use_remote_address": True,
        "normalize_path": True,
        "early_header_mutation_extensions": [
            _filter("early", "http.early_header_mutation.header_mutation.v3.HeaderMutation", {"mutations": mutations})
        ],
        "http_filters": filters,
        "route_config": {"name": "clients", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": table}]},
    }
    return _filter(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        config,
    )


def _routes(made: Objects) -> list[dict[str, Any]]:
    """Every match of every HTTPRoute, ranked as Gateway API ranks them: exact paths, longer ones, method, headers."""
    found = []
    for (kind, name), spec in made.items():
        for rule in spec["rules"] if kind == "HTTPRoute" else []:
            for match in rule["matches"]:
                path = match["path"]
                rank = (path["type"] == "Exact", len(path["value"]), "method" in match, len(match.get("headers", [])))
                found.append(
                    {"name": name, "rule": rule, "match": match, "rank": sum(n * 1000**-i for i, n in enumerate(rank))}
                )
    return found


def _route(route: Mapping[str, Any], made: Objects, keys: Mapping[str, str]) -> dict[str, Any]:
    match, rule = route["match"], route["rule"]
    headers = [{"name": h["name"], "string_match": {"exact": h["value"]}} for h in match.get("headers", [])]
    if "method" in match:
        headers.append({"name": ":method", "string_match": {"exact": match["method"]}})
    path = {"path" if match["path"]["type"] == "Exact" else "prefix": match["path"]["value"]}
    asked = made["SecurityPolicy", "gateway"]["apiKeyAuth"]
    per_filter: dict[str, Any] = {
        _KEYS: {
            "@type": f"{_TYPE}filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
            "credentials": [{"client": client, "key": key} for client, key in keys.items()],
            "key_sources": [{"header": header} for source in asked["extractFrom"] for header in source["headers"]],
            "forwarding": {"header": asked["forwardClientIDHeader"], "hide_credentials": asked["sanitize"]},
        }
    }
    action: dict[str, Any] = {}
    for filter_ in rule["filters"]:
        if filter_["type"] != "ExtensionRef":
            continue
        name = filter_["extensionRef"]["name"]
        spec = made["HTTPRouteFilter", name]
        if "directResponse" in spec:
            answer = spec["directResponse"]
            text = {"inline_string": answer["body"]["inline"]}
            action = {"direct_response": {"status": answer["statusCode"], "body": text}}
        if "credentialInjection" in spec:
            turned_on = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}}
            per_filter[_credential_name(name)] = turned_on
    if "backendRefs" in rule:
        action = {"route": {"cluster": rule["backendRefs"][0]["name"], "timeout": rule["timeouts"]["request"]}}
        per_filter[_LIMIT] = _limit(made["BackendTrafficPolicy", "gateway"]["rateLimit"]["local"]["rules"])
    return {
        "name": route["name"],
        "match": {**path, "headers": headers},
        **action,
        "typed_per_filter_config": per_filter,
    }


def _limit(rules: list[dict[str, Any]]) -> dict[str, Any]:
    """A rule with a selector is a descriptor, the one without is the bucket of all."""
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    each, together = rules
    (client,) = each["clientSelectors"][0]["headers"]
    action = {"request_headers": {"header_name": client["name"], "descriptor_key": "client"}}
    return {
        "@type": f"{_TYPE}filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limit",
        "filter_enabled": always,
        "filter_enforced": always,
        "token_bucket": _bucket(together["limit"]),
        "rate_limits": [{"actions": [action]}],
        "descriptors": [{"entries": [{"key": "client"}], "token_bucket": _bucket(each["limit"])}],
        "always_consume_default_token_bucket": False,
        "max_dynamic_descriptors": 10000,
    }


def _bucket(limit: Mapping[str, Any]) -> dict[str, Any]:
    requests = limit["requests"]
    return {"max_tokens": requests, "tokens_per_fill": requests, "fill_interval": _UNITS[limit["unit"]]}


def _cluster(made: Objects, service: str, ports: list[int]) -> dict[str, Any]:
    sources = made["BackendTrafficPolicy", "gateway"]["loadBalancer"]["endpointOverride"]["extractFrom"]
    least = {"@type": f"{_TYPE}load_balancing_policies.least_request.v3.LeastRequest"}
    otherwise = {
        "typed_extension_config": {"name": "envoy.load_balancing_policies.least_request", "typed_config": least}
    }
    override = {
        "@type": f"{_TYPE}load_balancing_policies.override_host.v3.OverrideHost",
        "override_host_sources": sources,
        "fallback_policy": {"policies": [otherwise]},
    }
    chosen = {"name": "envoy.load_balancing_policies.override_host", "typed_config": override}
    addresses = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
    return {
        "name": service,
        "type": "STATIC",
        "load_balancing_policy": {"policies": [{"typed_extension_config": chosen}]},
        "load_assignment": {
            "cluster_name": service,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
        },
    }


def _patch(listener: dict[str, Any], policy: Mapping[str, Any]) -> None:
    """The policy's additions, in order, as a JSON patch applies them."""
    for patch in policy["jsonPatches"]:
        here: Any = listener
        *way, last = patch["operation"]["path"].strip("/").split("/")
        for part in way:
            here = here[int(part)] if isinstance(here, list) else here[part]
        here.insert(int(last), patch["operation"]["value"])


def _credential_name(name: str) -> str:
    return f"envoy.filters.http.credential_injector/httproutefilter/{name}"


def _filter(name: str, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_TYPE}{kind}", **config}}
