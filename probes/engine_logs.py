"""The logs of running engines, through the API server or Docker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import httpx

from probes.docker_api import DockerApi
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed


def engine_logs(kubeconfig: str, namespace: str, containers: Mapping[str, str], *, stack: str) -> dict[str, str]:
    """The whole log of one pod of each model; `containers` is the engine's container by model name. Raises CheckFailed
    where the cluster does not answer, or answers with an error.
    """
    api = KubernetesApi.from_kubeconfig(kubeconfig, stack=stack)
    base, texts = f"/api/v1/namespaces/{namespace}/pods", {}
    try:
        for model, container in containers.items():
            for pod in api.items(base, labelSelector=f"app.kubernetes.io/name={model}")[:1]:
                response = api.get(f"{base}/{pod['metadata']['name']}/log", container=container)
                response.raise_for_status()
                texts[model] = response.text
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise CheckFailed(f"the engine's log cannot be read: {error}", remedy=f"./lab check {stack}") from None
    return texts


def container_logs(project: str, models: Sequence[str], *, stack: str) -> dict[str, str]:
    """The same from plain Docker: as much of each container's log as Docker keeps. Raises CheckFailed where Docker does
    not answer.
    """
    api = DockerApi.connect()
    found = {model: api.container(names.container(project, model)) for model in models}
    ours = [m for m, c in found.items() if c and (c["Config"].get("Labels") or {}).get(names.STACK_LABEL) == stack]
    return {model: api.log(names.container(project, model)) for model in ours}
