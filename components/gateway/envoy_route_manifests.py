"""The gateway's route table: what is answered, by whom, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from stacks import names
from stacks.plan.gateway import PATHS, RERANK_PATHS, AffinityPlan, AliasTargetPlan, GatewayPlan

SPEECH_PATH: Final = "/v1/audio/transcriptions"
"""A form with a file: no JSON that says a model, so that the path alone leads to the engine."""

_LARGEST_FORM: Final = 26 * 2**20  # bytes: vLLM takes files of 25 MiB (vllm/envs.py); the form's other fields are small

CORS: Final = tuple(
    f"access-control-{rest}"
    for rest in ("allow-origin", "allow-credentials", "allow-methods", "allow-headers", "expose-headers", "max-age")
)
"""vLLM allows every origin by default; web pages of others have no business here."""

_POST: Final = {"name": ":method", "string_match": {"exact": "POST"}}
_GET: Final = {"name": ":method", "string_match": {"exact": "GET"}}
_CREATED: Final = 1700000000  # any fixed time: the lab does not know when a model was made
COOKIE_SECONDS: Final = 86_400  # a day of one conversation
_RETRIES: Final = {
    # only what the engine has not seen yet is sent again, and to another replica where there is one
    "retry_on": "connect-failure,refused-stream",
    "num_retries": 1,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
}


def routes(plan: GatewayPlan) -> dict[str, Any]:
    """The RouteConfiguration. The first host is for the names that the gateway is known by, the last for all others."""
    listing = listing_body(plan.names)
    table = [_answer("models", "/v1/models", listing)]
    for name in plan.names:
        table.append(_answer(f"models/{name}", f"/v1/models/{name}", model_body(name)))
        table.append(_answer(f"models/{name}", f"/models/{name}/v1/models", listing_body([name])))
    speech = [backend.model for backend in plan.backends if backend.task == "transcription"]
    paths = PATHS + (RERANK_PATHS if any(backend.task == "rerank" for backend in plan.backends) else ())
    written = [name for name in plan.names if name not in speech]
    for path in paths:
        table += [_to_engine(plan, name, path, [_says(name)]) for name in written]
        table.append(_unreadable(path))
        table.append(_refusal(path, 404, "There is no such model here: see /v1/models", _SAYS_ANY))
        table.append(_refusal(path, 400, "The body says no model", _status("missing")))
        table.append(_other_type(path))
    for name in written:
        for path in paths:
            own = f"/models/{name}{path}"
            table += [_to_engine(plan, name, own, [says]) for says in (_says(name), _status("missing"))]
            table.append(_unreadable(own))
            table.append(_refusal(own, 404, f"At this address there is only {name}", _SAYS_ANY))
            table.append(_other_type(own))
    for name in speech:
        table += _speech(plan, name, f"/models/{name}{SPEECH_PATH}")
    for name in speech[:1]:
        table += _speech(plan, name, SPEECH_PATH)
    table.append(_nothing(404, "There is nothing at this address"))
    return {
        "name": "gateway",
        "max_direct_response_body_size_bytes": max(4096, len(listing.encode())),
        "virtual_hosts": [
            {"name": "models", "domains": list(plan.hosts), "routes": table},
            unknown_host(),
        ],
        "request_headers_to_remove": ["x-model", "x-model-status"],
        "response_headers_to_remove": list(CORS),
    }


def unknown_host() -> dict[str, Any]:
    """The virtual host of all names that the gateway does not have."""
    return {"name": "others", "domains": ["*"], "routes": [_nothing(421, "This is not a name of this gateway")]}


def cluster(model: str) -> str:
    """The name of the cluster that is one model's engine."""
    return f"model_{model}"


def _to_engine(plan: GatewayPlan, name: str, path: str, headers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Requests for a model, an adapter of one, or an alias, which are shared by weight; the engine sees the path below
    /v1.
    """
    own = plan.models[name].model if name in plan.models else name
    targets = next((a.targets for a in plan.aliases if a.name == name), (AliasTargetPlan(model=own, weight=1),))
    action: dict[str, Any] = {"cluster": cluster(targets[0].model)}
    if len(targets) > 1:
        weighted = [{"name": cluster(target.model), "weight": target.weight} for target in targets]
        action = {"weighted_clusters": {"clusters": weighted}}
        if plan.affinity:
            action["weighted_clusters"]["use_hash_policy"] = True
    if plan.affinity:
        action["hash_policy"] = [_session(plan.affinity, secure=plan.tls != "off")]
    if not path.startswith("/v1"):
        action["prefix_rewrite"] = path[path.index("/v1") :]
    # a long answer may stream for hours; what stands still is ended by the idle timeout
    action |= {"timeout": "0s", "retry_policy": _RETRIES}
    # by what stands here clients are kept to their models: host/gateway/key_models.py
    metadata = {"filter_metadata": {names.GATEWAY_ROUTE_METADATA: {"model": name}}}
    return {"name": name, "match": {"path": path, "headers": [_POST, *headers]}, "route": action, "metadata": metadata}


def _speech(plan: GatewayPlan, name: str, path: str) -> list[dict[str, Any]]:
    """The form goes to the engine as it comes, nothing of it is held here: so its length must be said, and be small
    enough.
    """
    form = {"name": "content-type", "string_match": {"prefix": "multipart/form-data", "ignore_case": True}}
    length = {"name": "content-length", "range_match": {"start": 1, "end": _LARGEST_FORM + 1}}
    return [
        _to_engine(plan, name, path, [form, length]),
        _refusal(path, 413, "The file is longer than 25 MiB", {"name": "content-length"}, form),
        _refusal(path, 400, "The form must say its content-length", form),
        _refusal(path, 400, "The body must be a form with a file: content-type: multipart/form-data"),
    ]


def _session(affinity: AffinityPlan, *, secure: bool) -> dict[str, Any]:
    """By what requests are kept together. A cookie holds a random number and no address: it chooses nothing."""
    if affinity.by == "header":
        return {"header": {"header_name": affinity.name}}
    attributes = [{"name": "SameSite", "value": "Strict"}, *([{"name": "Secure"}] if secure else [])]
    ttl = f"{COOKIE_SECONDS}s"
    return {"cookie": {"name": affinity.name, "ttl": ttl, "path": "/", "attributes": attributes}}


def _unreadable(path: str) -> dict[str, Any]:
    return _refusal(path, 400, "The body is not JSON that can be read", _status("invalid"))


def _other_type(path: str) -> dict[str, Any]:
    return _refusal(path, 400, "The body must be JSON that names a model, sent as content-type: application/json")


def _refusal(path: str, status: int, message: str, *headers: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "refused",
        "match": {"path": path, "headers": [_POST, *headers]},
        "direct_response": {"status": status, "body": {"inline_string": message}},
    }


def _answer(name: str, path: str, text: str) -> dict[str, Any]:
    content = {"header": {"key": "content-type", "value": "application/json"}}
    return {
        "name": name,
        "match": {"path": path, "headers": [_GET]},
        "direct_response": {"status": 200, "body": {"inline_string": text}},
        "response_headers_to_add": [{**content, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
    }


def _nothing(status: int, message: str) -> dict[str, Any]:
    return {
        "name": "nothing",
        "match": {"prefix": "/"},
        "direct_response": {"status": status, "body": {"inline_string": message}},
    }


_SAYS_ANY: Final = {"name": "x-model"}


def _says(name: str) -> dict[str, Any]:
    return {"name": "x-model", "string_match": {"exact": name}}


def _status(word: str) -> dict[str, Any]:
    return {"name": "x-model-status", "string_match": {"exact": word}}


def listing_body(listed: Sequence[str]) -> str:
    """What `GET /v1/models` says."""
    return json.dumps({"object": "list", "data": [_model(name) for name in listed]})


def model_body(name: str) -> str:
    """What `GET /v1/models/NAME` says."""
    return json.dumps(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "local-ai-lab"}
