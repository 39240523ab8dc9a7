"""The inference check: does a model really answer, and if not, which hop is the first that is broken?

cluster -> node -> rollout -> pod -> service -> /v1/models -> chat completion -> streaming; in plain Docker docker ->
container -> /v1/models and on. A model for something else than chat is asked for that (task_hops.py). Looks only; asks
for a few tokens.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx

from probes import gpus, model_hops, rollout, task_hops
from probes.containers import Container
from probes.docker_api import DockerApi
from probes.gateway import GatewayAccess
from probes.hops import Walk
from probes.kubernetes_api import KubernetesApi
from probes.pods import Pods, failed
from stacks import names
from stacks.errors import CheckFailed

_GATEWAY_SECONDS = 60.0
_GATEWAY_REFUSES = (401, 403, 429, 500, 502, 503, 504)
_CHAT_SECONDS = 120.0  # a CPU may need a second for each few tokens


def check(
    kubeconfig: str,
    model: str,
    endpoint: str,
    *,
    namespace: str,
    api_key: str | None = None,
    stack: str = "STACK",
    task: str = "chat",
    adapters: Sequence[str] = (),
    wait: Callable[[str], None] | None = None,
    forward: bool = False,
    gateway: GatewayAccess | None = None,
) -> Walk:
    """Walks all hops of one model; a broken one ends the walk and is its `failure`.

    With `wait` a rollout that is under way is waited for, at most until its own deadline, and `wait` is told of it
    every ten seconds; one that lacks GPUs is waited for as long as a device plugin takes to restart. With `forward` the
    cluster is somebody else's: its nodes are not looked at, and the model is asked through the API server, since
    nothing is published. `gateway` is the gateway that is asked, if the stack has one.
    """
    walk = Walk(model, endpoint)
    api: list[KubernetesApi] = []
    walk.hop("cluster", lambda: _cluster(kubeconfig, api, stack))
    if not forward:
        walk.hop("node", lambda: _node(api[0], stack))
    walk.hop("rollout", lambda: _rollout(Pods(api[0], namespace, model, stack), stack, wait, bounded=not forward))
    walk.hop("pod", lambda: _pod(Pods(api[0], namespace, model, stack), stack))
    service = model if forward or gateway else names.endpoint_service(model)
    walk.hop("service", lambda: _service(api[0], namespace, service))
    if gateway is not None:
        return _through(walk, gateway, task, adapters, f"kubectl -n {namespace} logs deploy/{names.GATEWAY}")
    if not forward or walk.failure:
        return _asked(walk, api_key, task, adapters)
    pods = Pods(api[0], namespace, model, stack)
    return _asked(
        walk, api_key, task, adapters, transport=api[0].forward(namespace, lambda: pods.names()[0], names.HTTP_PORT)
    )


def check_in_docker(
    project: str,
    model: str,
    endpoint: str,
    *,
    api_key: str | None = None,
    stack: str = "STACK",
    task: str = "chat",
    adapters: Sequence[str] = (),
    wait: Callable[[str], None] | None = None,
    gateway: GatewayAccess | None = None,
) -> Walk:
    """The same for a container of plain Docker, of the compose project `project`; with `wait` a start that is under way
    is waited for. `gateway` is the gateway that is asked, if the stack has one.
    """
    walk = Walk(model, endpoint)
    found: list[Container] = []
    own = None if gateway else endpoint
    walk.hop("docker", lambda: _docker(found, names.container(project, model), own, stack))
    walk.hop("container", lambda: found[0].wait(wait) if wait else found[0].look())
    if gateway is None:
        return _asked(walk, api_key, task, adapters)
    return _through(walk, gateway, task, adapters, f"docker logs {names.container(project, names.GATEWAY)}")


def _through(walk: Walk, gateway: GatewayAccess, task: str, adapters: Sequence[str], log: str) -> Walk:
    """The gateway's own hop, and the rest asked through it with the key of the lab's checks; `log` prints its log."""
    keys: list[str] = []
    walk.hop("gateway", lambda: _gateway(gateway, walk.endpoint, walk.model, keys, task, log))
    trust = gateway.trust() if keys and walk.endpoint.startswith("https") else True
    return _asked(walk, keys[0] if keys else None, task, adapters, trust)


def _gateway(gateway: GatewayAccess, endpoint: str, model: str, keys: list[str], task: str, log: str) -> str:
    """Waits until it has seen the engine's own health, some seconds after the engine is there."""
    key, end = gateway.key(), time.monotonic() + _GATEWAY_SECONDS
    trust = gateway.trust() if endpoint.startswith("https") else True
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers, timeout=_CHAT_SECONDS, trust_env=False, verify=trust) as client:
        while True:
            try:
                # nothing is asked: the engine refuses it, the gateway only where no engine is there
                form = {"files": {"model": (None, model)}} if task == "transcription" else {"json": {"model": model}}
                answer = client.post(f"{endpoint}/{task_hops.PATHS[task]}", **form)
                said = f"it answers {answer.status_code}: {answer.text.strip()[:200]}"
                if answer.status_code not in _GATEWAY_REFUSES:
                    keys.append(key)
                    return endpoint
            except httpx.HTTPError as error:
                said = str(error) or repr(error)
            if time.monotonic() > end:
                remedy = f"./lab status {gateway.stack}; {log}"
                raise CheckFailed(f"the gateway does not pass requests on: {said}", remedy=remedy)
            time.sleep(1.0)


def _asked(
    walk: Walk,
    api_key: str | None,
    task: str,
    adapters: Sequence[str] = (),
    verify: ssl.SSLContext | bool = True,
    transport: httpx.BaseTransport | None = None,
) -> Walk:
    """The hops to the model's own words, which are the same wherever it runs."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(
        headers=headers, timeout=_CHAT_SECONDS, trust_env=False, verify=verify, transport=transport
    ) as client:
        walk.hop("/v1/models", lambda: model_hops.models(client, walk.endpoint, walk.model))
        ask: task_hops.Ask
        if task in task_hops.ASKS:
            name, ask = task_hops.ASKS[task]
            walk.hop(name, lambda: ask(client, walk.endpoint, walk.model, walk))
        else:
            ask = model_hops.chat
            walk.hop("chat", lambda: ask(client, walk.endpoint, walk.model, walk))
            walk.hop("streaming", lambda: model_hops.stream(client, walk.endpoint, walk.model, walk))
        for adapter in adapters:
            walk.hop(f"adapter {adapter}", partial(_adapter, client, walk.endpoint, adapter, ask))
    return walk


def _adapter(client: httpx.Client, endpoint: str, adapter: str, ask: task_hops.Ask) -> str:
    """The adapter is listed and answers under its own name; its figures are not the model's."""
    model_hops.models(client, endpoint, adapter)
    return ask(client, endpoint, adapter, Walk(adapter, endpoint))


def _docker(found: list[Container], name: str, endpoint: str | None, stack: str) -> str:
    api = DockerApi.connect()
    found.append(Container(api, name, stack, endpoint))
    return f"Docker {(api.document('/version') or {}).get('Version', '?')}"


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


def _rollout(pods: Pods, stack: str, wait: Callable[[str], None] | None, *, bounded: bool) -> str:
    """`bounded`: nobody adds a node with GPUs for a pod that waits, as an autoscaler of somebody else's cluster may."""
    shortage = gpus.Shortage(pods.api, pods.namespace, stack)

    def hopeless() -> bool:
        return pods.problem(final=True) is not None or (bounded and shortage.lasts(pods.problem()))

    try:
        missing = (
            rollout.wait(pods.api, pods.namespace, pods.model, wait, stack=stack, hopeless=hopeless)
            if wait
            else rollout.look(pods.api, pods.namespace, pods.model, stack=stack)[0]
        )
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"the Deployment cannot be read: {error}", remedy="the kubeconfig may belong to another cluster"
        ) from None
    if not missing:
        return "complete"
    if problem := shortage.problem or pods.problem():
        raise failed(problem, f"{missing}; ")
    raise CheckFailed(missing, remedy=f"wait, then type: ./lab check {stack}")


def _pod(pods: Pods, stack: str) -> str:
    names = pods.names()
    if not names:
        raise CheckFailed("there is no pod", remedy=f"the Deployment may be refused; type: ./lab up {stack}")
    if problem := pods.problem():
        raise failed(problem)
    return ", ".join(names)


def _service(api: KubernetesApi, namespace: str, service: str) -> str:
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    slices = _list(api, path, labelSelector=f"kubernetes.io/service-name={service}")
    ready = [
        a
        for s in slices
        for e in s.get("endpoints") or []
        if e.get("conditions", {}).get("ready")
        for a in e["addresses"]
    ]
    if not ready:
        raise CheckFailed(
            f"Service {service} has no ready endpoint",
            remedy="the pod is not ready yet; wait, or look at its log",
        )
    return f"{service} -> {', '.join(ready)}"


def _list(api: KubernetesApi, path: str, **parameters: str) -> list[dict[str, Any]]:
    try:
        return api.items(path, **parameters)
    except httpx.HTTPError as error:
        raise CheckFailed(
            f"{path} cannot be read: {error}", remedy="the kubeconfig may belong to another cluster"
        ) from None
