"""Who asks, where tokens of an identity provider are taken beside keys.

One filter decides by the request alone whether a token or a key is asked for, so that no route can turn one of them
off: a JWT in `Authorization` is a token, everything else is a key. The gate behind it lets through only what one of the
two has given a name; what clients say of such names was removed before.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final

from stacks import names
from stacks.plan.gateway_oidc import OidcPlan

CLAIM_HEADER: Final = "x-token-client"
"""The claim that names the client, between the filters; no engine sees it."""

GATE: Final = "has_a_client"
CLUSTER: Final = "oidc_keys"

_TYPE: Final = "type.googleapis.com/envoy.extensions."
_MATCHING: Final = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"
_PROVIDER: Final = "oidc"
_JWT: Final = r"(?i:bearer) +eyJ[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*"
"""Three parts in base64url, of which the first begins as every JSON object does: RFC 7515, section 3.1."""
_KEY_NAME: Final = "[a-z0-9-]+"
_CLAIM: Final = "[!-~]+"  # visible ASCII: no blank, no line end
_CACHE_SECONDS: Final = 300  # how long a key that the provider has taken back may still be taken
_FETCH_SECONDS: Final = 5
_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"  # of Debian, on which Envoy's own images are made


def filters(oidc: OidcPlan, keys: dict[str, Any]) -> list[dict[str, Any]]:
    """The filters in front of all others. `keys` is what the one for keys is read from: its `config_discovery`."""
    return [_one_of(oidc, keys), _gate(), _name()]


def clusters(oidc: OidcPlan) -> list[dict[str, Any]]:
    """Where the provider's keys are fetched: over TLS, from that name and no other."""
    if oidc.source is None:
        return []
    host, port = oidc.source
    authority = {"inline_string": oidc.ca} if oidc.ca else {"filename": _AUTHORITIES}
    by_address = _is_address(host)
    validation = {
        "trusted_ca": authority,
        "match_typed_subject_alt_names": [
            {"san_type": "IP_ADDRESS" if by_address else "DNS", "matcher": {"exact": host}}
        ],
    }
    tls: dict[str, Any] = {
        "@type": f"{_TYPE}transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "validation_context": validation,
        },
        **({} if by_address else {"sni": host}),
    }
    endpoint = {"address": {"socket_address": {"address": host, "port_value": port}}}
    found = {
        "name": CLUSTER,
        "type": "LOGICAL_DNS",
        "dns_lookup_family": "V4_ONLY",
        "connect_timeout": f"{_FETCH_SECONDS}s",
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    return [found]


def egress(oidc: OidcPlan) -> list[dict[str, Any]]:
    """What a NetworkPolicy must let out: rules know addresses and no names, so a name opens its port of all hosts,
    without those that clouds answer machines at.
    """
    if oidc.source is None:
        return []
    host, port = oidc.source
    block = {"cidr": f"{host}/32"} if _is_address(host) else {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}
    return [{"to": [{"ipBlock": block}], "ports": [{"protocol": "TCP", "port": port}]}]


def _one_of(oidc: OidcPlan, keys: dict[str, Any]) -> dict[str, Any]:
    """A token where the request has a JWT, else a key: either is asked for, whatever the request says."""
    tokens = {
        "@type": f"{_TYPE}filters.http.composite.v3.ExecuteFilterAction",
        "typed_config": {"name": "envoy.filters.http.jwt_authn", "typed_config": _tokens(oidc)},
    }
    other = {
        "@type": f"{_TYPE}filters.http.composite.v3.ExecuteFilterAction",
        "dynamic_config": {"name": "envoy.filters.http.api_key_auth", "config_discovery": keys},
    }
    header = {
        "@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": "authorization",
    }
    predicate = {
        "single_predicate": {
            "input": {"name": "authorization", "typed_config": header},
            "value_match": {"safe_regex": {"google_re2": {}, "regex": _JWT}},
        }
    }
    matchers = [{"predicate": predicate, "on_match": {"action": {"name": "tokens", "typed_config": tokens}}}]
    config = {
        "@type": _MATCHING,
        "extension_config": {
            "name": "composite",
            "typed_config": {"@type": f"{_TYPE}filters.http.composite.v3.Composite"},
        },
        "xds_matcher": {
            "matcher_list": {"matchers": matchers},
            "on_no_match": {"action": {"name": "keys", "typed_config": other}},
        },
    }
    return {"name": "token_or_key", "typed_config": config}


def _tokens(oidc: OidcPlan) -> dict[str, Any]:
    """Signature, issuer, audience and expiry are checked; without keys of the provider every token is refused."""
    if oidc.jwks_uri:
        source: dict[str, Any] = {
            "remote_jwks": {
                "http_uri": {"uri": oidc.jwks_uri, "cluster": CLUSTER, "timeout": f"{_FETCH_SECONDS}s"},
                "cache_duration": f"{_CACHE_SECONDS}s",
                # fetched ahead, by one thread; keys of clients work while the provider does not answer
                "async_fetch": {"fast_listener": True},
            }
        }
    else:
        source = {"local_jwks": {"inline_string": oidc.jwks}}
    provider = {
        "issuer": oidc.issuer,
        "audiences": list(oidc.audiences),
        "require_expiration": True,
        # from nowhere else: without it a query would be looked at too
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "claim_to_headers": [{"header_name": CLAIM_HEADER, "claim_name": oidc.client_claim}],
        **source,
    }
    return {
        "@type": f"{_TYPE}filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {_PROVIDER: provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": _PROVIDER}}],
    }


def _gate() -> dict[str, Any]:
    """Only what has a name goes on: a key's, or a token's claim that can be written into a header."""
    known = [
        {"header": {"name": name, "string_match": {"safe_regex": {"regex": regex}}}}
        for name, regex in ((names.CLIENT_HEADER, _KEY_NAME), (CLAIM_HEADER, _CLAIM))
    ]
    policy = {"permissions": [{"any": True}], "principals": known}
    config = {
        "@type": f"{_TYPE}filters.http.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": {GATE: policy}},
    }
    return {"name": GATE, "typed_config": config}


def _name() -> dict[str, Any]:
    """A token's client gets its name; a key's has one already."""
    client = {"key": names.CLIENT_HEADER, "value": f"{names.TOKEN_CLIENT_PREFIX}%REQ({CLAIM_HEADER})%"}
    mutations = [{"append": {"header": client, "append_action": "ADD_IF_ABSENT"}}, {"remove": CLAIM_HEADER}]
    config = {
        "@type": f"{_TYPE}filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"request_mutations": mutations},
    }
    return {"name": "client_of_a_token", "typed_config": config}


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
