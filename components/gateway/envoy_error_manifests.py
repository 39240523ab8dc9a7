"""What the gateway itself answers, in the shape of OpenAI's errors."""

from __future__ import annotations

import math
from typing import Any, Final

from stacks import names
from stacks.plan.gateway import GatewayPlan
from stacks.plan.gateway_oidc import OidcPlan

_RETRY_SECONDS: Final = 5  # a model that starts is looked at again as often
_BODY: Final = "%LOCAL_REPLY_BODY%"
_NULL: Final = "%DYNAMIC_METADATA(local-ai-lab:null)%"
"""What is never there, so that it is written as null; Pulumi leaves a null out of what it sends."""

_MODEL_UNKNOWN: Final = (404, "invalid_request_error", "model_not_found", _BODY)
_MODEL_NOT_ALLOWED: Final = (
    403, "permission_error", "model_not_allowed", "This key may not ask that model: `lab keys` says which"
)  # fmt: skip
_ERRORS: Final = (
    # status, type, code, message; the types and codes are those of OpenAI's own errors where it has them
    (400, "invalid_request_error", "invalid_request", _BODY),
    (401, "invalid_request_error", "invalid_api_key", "A valid key is needed: Authorization: Bearer KEY"),
    (403, "permission_error", "forbidden", "This is not allowed here"),
    (404, "invalid_request_error", "unknown_url", _BODY),
    (408, "timeout_error", "request_timeout", "The request did not arrive in time"),
    (413, "invalid_request_error", "request_too_large", "The request is longer than the gateway takes"),
    (421, "invalid_request_error", "unknown_host", _BODY),
    (426, "invalid_request_error", "upgrade_required", "HTTP/1.1 or newer is needed"),
    (429, "requests", "rate_limit_exceeded", "Too many requests for this key: try again later"),
    (431, "invalid_request_error", "headers_too_large", "The headers of the request are too large"),
    (500, "server_error", "internal_error", "The gateway failed"),
    (502, "server_error", "bad_gateway", "The model's engine ended the answer early"),
    (503, "server_error", "model_not_ready", "The model is starting or has stopped: try again later"),
    (504, "server_error", "timeout", "The model's engine did not answer in time"),
)


def local_replies(plan: GatewayPlan) -> dict[str, Any]:
    """The LocalReplyConfig: one mapper a status, and Retry-After where waiting helps."""
    known = {"header_filter": {"header": {"name": "x-model", "present_match": True}}}
    waits = {429: math.ceil(60 / plan.requests_per_minute), 503: _RETRY_SECONDS}
    errors = {row[0]: row for row in _ERRORS}
    if plan.oidc:
        errors |= {row[0]: row for row in _with_tokens(plan.oidc)}
    named = {"header_filter": {"header": {"name": names.CLIENT_HEADER, "present_match": True}}}
    mappers = [
        _mapper(row, {"and_filter": {"filters": [_status(row[0]), condition]}}, None)
        for row, condition in ((_MODEL_UNKNOWN, known), (_MODEL_NOT_ALLOWED, named))
    ]
    return {"mappers": mappers + [_mapper(row, _status(status), waits.get(status)) for status, row in errors.items()]}


def _with_tokens(oidc: OidcPlan) -> list[tuple[int, str, str, str]]:
    """What is said otherwise where tokens are taken too; why a token is refused stands in the log."""
    needed = "A valid key or token is needed: Authorization: Bearer KEY"
    other = f"The token is for another audience, or has no claim {oidc.client_claim} that can name its client"
    return [(401, "invalid_request_error", "invalid_api_key", needed), (403, "permission_error", "forbidden", other)]


def _mapper(row: tuple[int, str, str, str], condition: dict[str, Any], wait: int | None) -> dict[str, Any]:
    _, kind, code, message = row
    error = {"message": message, "type": kind, "param": _NULL, "code": code}
    header = {"header": {"key": "retry-after", "value": str(wait)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        "filter": condition,
        "body_format_override": {"json_format": {"error": error}},
        **({"headers_to_add": [header]} if wait else {}),
    }


def _status(status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": f"local_reply.{status}"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}
