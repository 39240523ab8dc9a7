"""What an Envoy with a fixed configuration and one of Envoy Gateway have alike: what is removed, limited, read and
logged of a request.
"""

from __future__ import annotations

from typing import Any, Final

from stacks import names
from stacks.plan.gateway import GatewayPlan

NOT_FROM_CLIENTS: Final = (
    "x-model", "x-model-status", names.CLIENT_HEADER,  # ours
    "routing-strategy", "target-pod", "target-pod-ip", "external-filter", "config-profile", "user",  # of AIBrix
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "x-original-url",
    "x-rewrite-url", "x-http-method-override", "x-request-id",
)  # fmt: skip
"""Removed before anything looks at a request: headers that choose a backend, a client or a path."""

SERVER_NAME: Final = "local-ai-lab"
MAX_HEADERS: Final = 64
"""Of one request."""

_TYPE: Final = "type.googleapis.com/envoy.extensions."
_JSON_TYPES: Final = ["application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"]
BODY_FILTER: Final = "envoy.filters.http.json_to_metadata"


def rate_limit(plan: GatewayPlan) -> dict[str, Any]:
    """A bucket for each client, and one for all together."""
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": f"{_TYPE}filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "gateway",
        "token_bucket": _bucket(plan.total_requests_per_minute),
        "filter_enabled": always,
        "filter_enforced": always,
        "rate_limits": [
            {"actions": [{"request_headers": {"header_name": names.CLIENT_HEADER, "descriptor_key": "client"}}]}
        ],
        # without a value: a bucket of its own for each client
        "descriptors": [{"entries": [{"key": "client"}], "token_bucket": _bucket(plan.requests_per_minute)}],
        "max_dynamic_descriptors": 1000,
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
    }


def _bucket(each_minute: int) -> dict[str, Any]:
    return {"max_tokens": each_minute, "tokens_per_fill": each_minute, "fill_interval": "60s"}


def body_to_metadata() -> dict[str, Any]:
    """The body's `model` (of two the last, as engines read it), or why there is none."""
    rule = {
        "selectors": [{"key": "model"}],
        "on_present": {"key": "model"},
        "on_missing": {"key": "status", "value": "missing"},
        "on_error": {"key": "status", "value": "invalid"},
    }
    return {
        "@type": f"{_TYPE}filters.http.json_to_metadata.v3.JsonToMetadata",
        "request_rules": {"allow_content_types": _JSON_TYPES, "rules": [rule]},
    }


def metadata_to_headers() -> dict[str, Any]:
    """The same as headers, by which routes match."""
    pairs = (("x-model", "model"), ("x-model-status", "status"))
    mutations = [
        {
            "append": {
                "header": {"key": header, "value": f"%DYNAMIC_METADATA({BODY_FILTER}:{key})%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        }
        for header, key in pairs
    ]
    return {
        "@type": f"{_TYPE}filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"request_mutations": mutations},
    }


def access_log_line() -> dict[str, str]:
    """One JSON line a request: nothing of bodies, no query, no model that the stack does not have."""
    return {
        "time": "%START_TIME%", "client": "%REQ(X-CLIENT-ID)%", "method": "%REQ(:METHOD)%", "path": "%PATH(NQ)%",
        "route": "%ROUTE_NAME%", "status": "%RESPONSE_CODE%", "why": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%",
        "milliseconds": "%DURATION%", "request": "%REQ(X-REQUEST-ID)%",
        "from": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }  # fmt: skip
