"""What the lab must be allowed to do, asked of the API server itself: SelfSubjectAccessReview changes nothing."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from probes.kubernetes_api import KubernetesApi

_PATH = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WRITTEN: Final = ("get", "create", "patch", "delete")


class Right(NamedTuple):
    """One verb on one kind; `resource` may have a subresource, `namespaced` says where."""

    verb: str
    group: str
    resource: str
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


NEEDED: Final = (
    *(Right(verb, "", "namespaces", namespaced=False) for verb in _WRITTEN),
    *(
        Right(verb, group, kind)
        for group, kind in (
            ("", "persistentvolumeclaims"), ("", "secrets"), ("", "serviceaccounts"), ("", "services"),
            ("apps", "deployments"), ("networking.k8s.io", "networkpolicies"), ("policy", "poddisruptionbudgets"),
        )
        for verb in _WRITTEN
    ),
    *(Right(verb, "", "pods") for verb in ("list", "watch")),
    *(Right(verb, "apps", kind) for kind in ("deployments", "replicasets") for verb in ("list", "watch")),
    Right("list", "", "events"),
    Right("get", "", "pods/log"),
    *(Right(verb, "", "pods/portforward") for verb in ("get", "create")),
    Right("list", "discovery.k8s.io", "endpointslices"),
)  # fmt: skip
"""Every kind that the program makes, and what `check` and `status` read."""


def missing(api: KubernetesApi, namespace: str) -> list[Right]:
    """The rights that are not there. Raises httpx.HTTPError where they cannot be asked for."""
    return [right for right in NEEDED if not _allowed(api, right, namespace)]


def role(rights: list[Right]) -> str:
    """What to ask the cluster's administrator for."""
    kinds: dict[str, list[str]] = {}
    for right in rights:
        kinds.setdefault(f"{right.resource}{f'.{right.group}' if right.group else ''}", []).append(right.verb)
    return "; ".join(f"{kind}: {', '.join(verbs)}" for kind, verbs in kinds.items())


def _allowed(api: KubernetesApi, right: Right, namespace: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes: dict[str, Any] = {"verb": right.verb, "group": right.group, "resource": resource}
    attributes |= {"subresource": subresource} if subresource else {}
    attributes |= {"namespace": namespace} if right.namespaced else {"name": namespace}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.client.post(_PATH, json=body).raise_for_status().json()
    return bool(answer["status"]["allowed"])
