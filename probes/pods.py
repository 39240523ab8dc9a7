"""The pods of one model, and why they do not serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from probes.diagnosis import Problem, pod_problem
from probes.diagnosis.pod import crashed_container, is_ready
from probes.kubernetes_api import KubernetesApi
from stacks.errors import CheckFailed

_TAIL_LINES = "400"


@dataclass(frozen=True)
class Pods:
    """Reads through `api`; raises CheckFailed where the API server does not answer."""

    api: KubernetesApi
    namespace: str
    model: str
    stack: str

    def names(self) -> list[str]:
        """The pods that are not going away."""
        return [pod["metadata"]["name"] for pod in self._pods()]

    def problem(self, *, final: bool = False) -> Problem | None:
        """Why the first pod that is not ready is not; with `final` only what waiting cannot cure."""
        for pod in self._pods():
            if is_ready(pod):
                continue
            name = pod["metadata"]["name"]
            found = pod_problem(pod, events=self._events(name), log=self._log(pod))
            if found and (found.final or not final):
                what = f"pod {name}: {found.what}"
                filled = found.filled(stack=self.stack, pod=name, namespace=self.namespace)
                return Problem(what, filled.evidence, filled.remedy, filled.final)
        return None

    def _pods(self) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        try:
            found = self.api.items(path, labelSelector=f"app.kubernetes.io/name={self.model}")
        except httpx.HTTPError as error:
            raise CheckFailed(
                f"{path} cannot be read: {error}", remedy="the kubeconfig may belong to another cluster"
            ) from None
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def _events(self, pod: str) -> list[dict[str, Any]]:
        try:
            path = f"/api/v1/namespaces/{self.namespace}/events"
            return self.api.items(path, fieldSelector=f"involvedObject.name={pod}")
        except (httpx.HTTPError, KeyError, ValueError):
            return []

    def _log(self, pod: Mapping[str, Any]) -> str:
        """The end of the run that ended; nothing where none did, or where it cannot be had any more."""
        container = crashed_container(pod)
        if container is None:
            return ""
        named = {"container": container} if container else {}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}/log"
        for previous in ("true", "false"):
            try:
                response = self.api.get(path, previous=previous, tailLines=_TAIL_LINES, **named)
                if response.status_code == httpx.codes.OK:
                    return response.text
            except httpx.HTTPError:
                return ""
        return ""


def failed(problem: Problem, before: str = "") -> CheckFailed:
    """The problem as a failed check."""
    evidence = f" ({problem.evidence})" if problem.evidence else ""
    return CheckFailed(f"{before}{problem.what}{evidence}", remedy=problem.remedy)
