"""The inference check: does a model really answer, and if not, which hop is the first that is broken?

cluster -> node -> rollout -> pod -> service -> /v1/models -> chat completion -> streaming. Looks only; asks for a few tokens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from probes import causes, rollout
from probes.hops import Walk
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed

ROUTE_SECONDS = 10.0
"""How long a port may refuse: kube-proxy gathers changes for 1 s, and a busy machine needs a few more."""

_CHAT_SECONDS = 120.0  # a CPU may need a second for each few tokens
_MAX_TOKENS = 32
_QUESTION = "What is the capital of France?"


def check(
    kubeconfig: str,
    model: str,
    endpoint: str,
    *,
    api_key: str | None = None,
    stack: str = "STACK",
    wait: Callable[[str], None] | None = None,
) -> Walk:
    """Walks all hops of one model; a broken one ends the walk and is its `failure`.

    With `wait` a rollout that is under way is waited for, at most until its own deadline, and `wait` is told of it every ten seconds.
    """
    walk = Walk(model, endpoint)
    api: list[KubernetesApi] = []
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(headers=headers, timeout=_CHAT_SECONDS, trust_env=False) as client:
        walk.hop("cluster", lambda: _cluster(kubeconfig, api, stack))
        walk.hop("node", lambda: _node(api[0], stack))
        walk.hop("rollout", lambda: _rollout(api[0], model, stack, wait))
        walk.hop("pod", lambda: _pod(api[0], model, stack))
        walk.hop("service", lambda: _service(api[0], model))
        walk.hop("/v1/models", lambda: _models(client, endpoint, model))
        walk.hop("chat", lambda: _chat(client, endpoint, model, walk))
        walk.hop("streaming", lambda: _stream(client, endpoint, model, walk))
    return walk


def _cluster(kubeconfig: str, api: list[KubernetesApi], stack: str) -> str:
    api.append(KubernetesApi.from_kubeconfig(kubeconfig, stack=stack))
    try:
        ready = api[0].get("/readyz")
        version = api[0].get("/version").json().get("gitVersion", "?")
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"the API server does not answer: {error}", remedy=f"it may be down; type: ./lab up {stack}"
        ) from None
    if ready.status_code != httpx.codes.OK:
        raise CheckFailed(
            f"the API server is not ready: {ready.text.splitlines()[-1:]}",
            remedy=f"wait, then type: ./lab check {stack}",
        )
    return f"Kubernetes {version}"


def _node(api: KubernetesApi, stack: str) -> str:
    nodes = _list(api, "/api/v1/nodes")
    for node in nodes:
        conditions = {c["type"]: c for c in node["status"].get("conditions", [])}
        if conditions.get("Ready", {}).get("status") != "True":
            said = conditions.get("Ready", {}).get("message", "the kubelet reports nothing")
            raise CheckFailed(f"node {node['metadata']['name']} is not Ready: {said}", remedy=f"type: ./lab up {stack}")
        for pressure in ("DiskPressure", "MemoryPressure", "PIDPressure"):
            if conditions.get(pressure, {}).get("status") == "True":
                said = conditions[pressure].get("message", "")
                raise CheckFailed(
                    f"node {node['metadata']['name']} has {pressure}: {said}", remedy="free some, then try again"
                )
    if not nodes:
        raise CheckFailed("the cluster has no node", remedy=f"type: ./lab up {stack}")
    return ", ".join(n["metadata"]["name"] for n in nodes)


def _rollout(api: KubernetesApi, model: str, stack: str, wait: Callable[[str], None] | None) -> str:
    space = names.MODELS_NAMESPACE
    try:
        missing = (
            rollout.wait(api, space, model, wait, stack=stack)
            if wait
            else rollout.look(api, space, model, stack=stack)[0]
        )
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"the Deployment cannot be read: {error}", remedy="the kubeconfig may belong to another cluster"
        ) from None
    if not missing:
        return "complete"
    pods = _list(
        api, f"/api/v1/namespaces/{names.MODELS_NAMESPACE}/pods", labelSelector=f"app.kubernetes.io/name={model}"
    )
    for pod in (p for p in pods if "deletionTimestamp" not in p["metadata"]):
        if cause := causes.of_pod(pod):
            name = pod["metadata"]["name"]
            raise CheckFailed(f"{missing}; pod {name}: {cause.what}", remedy=cause.remedy.format(stack=stack, pod=name))
    raise CheckFailed(missing, remedy=f"wait, then type: ./lab check {stack}")


def _pod(api: KubernetesApi, model: str, stack: str) -> str:
    path = f"/api/v1/namespaces/{names.MODELS_NAMESPACE}/pods"
    pods = _list(api, path, labelSelector=f"app.kubernetes.io/name={model}")
    live = [p for p in pods if "deletionTimestamp" not in p["metadata"]]
    if not live:
        raise CheckFailed("there is no pod", remedy=f"the Deployment may be refused; type: ./lab up {stack}")
    for pod in live:
        if cause := causes.of_pod(pod):
            remedy = cause.remedy.format(stack=stack, pod=pod["metadata"]["name"])
            raise CheckFailed(f"pod {pod['metadata']['name']}: {cause.what}", remedy=remedy)
    return ", ".join(p["metadata"]["name"] for p in live)


def _service(api: KubernetesApi, model: str) -> str:
    path = f"/apis/discovery.k8s.io/v1/namespaces/{names.MODELS_NAMESPACE}/endpointslices"
    slices = _list(api, path, labelSelector=f"kubernetes.io/service-name={names.endpoint_service(model)}")
    ready = [
        a
        for s in slices
        for e in s.get("endpoints") or []
        if e.get("conditions", {}).get("ready")
        for a in e["addresses"]
    ]
    if not ready:
        raise CheckFailed(
            f"Service {names.endpoint_service(model)} has no ready endpoint",
            remedy="the pod is not ready yet; wait, or look at its log",
        )
    return f"{names.endpoint_service(model)} -> {', '.join(ready)}"


def _models(client: httpx.Client, endpoint: str, model: str) -> str:
    _await_route(client, f"{endpoint}/models")
    served = [entry.get("id") for entry in _json(client, "GET", f"{endpoint}/models")["data"]]
    if model not in served:
        raise CheckFailed(
            f"serves {served}, not {model}", remedy="another service answers on this port; give the model another port"
        )
    return f"serves {model}"


def _await_route(client: httpx.Client, url: str) -> None:
    """A node's proxy learns of a new Service a moment after the API server did; until then its port refuses."""
    end = time.monotonic() + ROUTE_SECONDS
    while time.monotonic() < end:
        try:
            client.get(url)
        except httpx.ConnectError:
            time.sleep(0.2)
        except httpx.HTTPError:
            break  # the hop itself says what is wrong
        else:
            break


def _chat(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    begin = time.perf_counter()
    answer = _json(client, "POST", f"{endpoint}/chat/completions", _request(model))
    seconds = time.perf_counter() - begin
    text = (answer["choices"][0]["message"].get("content") or "").strip()
    if not text:
        raise CheckFailed(
            "the answer is empty", remedy="the model's chat template may be wrong; look at the engine's log"
        )
    tokens = answer.get("usage", {}).get("completion_tokens", 0)
    walk.figures |= {
        "question": _QUESTION,
        "text": text,
        "completionTokens": tokens,
        "tokensPerSecond": round(tokens / seconds, 1),
    }
    return f"{tokens} tokens, {tokens / seconds:.1f} tokens/s: {_short(text)}"


def _stream(client: httpx.Client, endpoint: str, model: str, walk: Walk) -> str:
    begin, first, pieces = time.perf_counter(), 0.0, 0
    try:
        with client.stream(
            "POST", f"{endpoint}/chat/completions", json={**_request(model), "stream": True}
        ) as response:
            if response.status_code != httpx.codes.OK:
                raise CheckFailed(f"streaming answers {response.status_code}", remedy="look at the engine's log")
            for line in response.iter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"][0].get("delta", {}).get("content"):
                    first = first or time.perf_counter() - begin
                    pieces += 1
    except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
        raise CheckFailed(f"the stream broke: {error!r}", remedy="look at the engine's log") from None
    if not pieces:
        raise CheckFailed("the stream holds no text", remedy="look at the engine's log")
    walk.figures["timeToFirstTokenSeconds"] = round(first, 3)
    return f"first token after {first * 1e3:.0f} ms, {pieces} pieces"


def _request(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": _QUESTION}],
        "max_tokens": _MAX_TOKENS,
        "temperature": 0,
        "stop": ["\nUser:"],
    }


def _json(client: httpx.Client, method: str, url: str, body: Any = None) -> dict[str, Any]:
    try:
        response = client.request(method, url, json=body)
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"{url} does not answer: {error!r}", remedy="the port may be blocked or taken; see: ss -ltn"
        ) from None
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise CheckFailed(
            f"{url} refuses the key ({response.status_code})",
            remedy="the running engine has another apiKey; type: ./lab up",
        )
    if response.status_code != httpx.codes.OK:
        raise CheckFailed(
            f"{url} answers {response.status_code}: {_short(response.text)}", remedy="look at the engine's log"
        )
    try:
        document: dict[str, Any] = response.json()
    except ValueError:
        raise CheckFailed(
            f"{url} answers no JSON: {_short(response.text)}", remedy="another service answers on this port"
        ) from None
    return document


def _list(api: KubernetesApi, path: str, **parameters: str) -> list[dict[str, Any]]:
    try:
        return api.items(path, **parameters)
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"{path} cannot be read: {error}", remedy="the kubeconfig may belong to another cluster"
        ) from None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else f"{line[:117]}..."
