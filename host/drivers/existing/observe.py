"""What there is in the cluster, as far as this user may see it; looks only."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import httpx
import yaml

from host.drivers.existing import rights
from host.drivers.existing.rights import Right
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed
from stacks.plan import ExistingPlan

SECONDS: Final = 15.0
"""How long one answer of an API server may take: it may be on another continent."""

_OPENSHIFT = "security.openshift.io"


class Unreachable(Exception):
    """The API server does not answer; the text says how."""


class Unauthorized(Exception):
    """It answers, and does not know who asks; the text says how, and `remedy` what to type where that is known."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Space:
    """The namespace of the stack's name: whose it is, and whether it is going away."""

    uid: str
    stack: str
    owner: str
    going: bool
    quotas: tuple[dict[str, Any], ...] = ()
    limits: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Observed:
    """`uid`: of kube-system, empty where it may not be read. `space`: None where there is no such namespace. `refused`:
    what the API server says to a dry run that makes it. `bound`: whether the namespace has a claim. What may not be
    listed is None.
    """

    uid: str
    version: str
    missing: tuple[Right, ...]
    space: Space | None
    refused: str = ""
    openshift: bool = False
    nodes: tuple[dict[str, Any], ...] | None = None
    classes: tuple[dict[str, Any], ...] | None = None
    runtime_classes: tuple[str, ...] | None = None
    bound: bool = False


def connect(text: str) -> KubernetesApi:
    """The API of a carried kubeconfig. Raises Unauthorized where its credential plugin gives nothing."""
    try:
        return KubernetesApi.from_document(yaml.safe_load(text), timeout=SECONDS)
    except CheckFailed as error:
        raise Unauthorized(error.message, error.remedy) from None


def whose(api: KubernetesApi, namespace: str) -> tuple[str, Space | None]:
    """The cluster's UID and the namespace: all that a removal needs. Raises Unreachable and Unauthorized."""
    found = _get(api, "/api/v1/namespaces/kube-system")
    uid = str(found["metadata"]["uid"]) if found else ""
    return uid, _space(api, namespace)


def nodes(api: KubernetesApi) -> tuple[dict[str, Any], ...] | None:
    """The cluster's nodes; None where this user may not list them. Raises Unreachable and Unauthorized."""
    return _items(api, "/api/v1/nodes")


def look(api: KubernetesApi, plan: ExistingPlan) -> Observed:
    """Everything that is checked. Raises Unreachable and Unauthorized."""
    uid, space = whose(api, plan.namespace)
    version = _get(api, "/version") or {}
    groups = _get(api, "/apis") or {}
    try:
        missing = tuple(rights.missing(api, plan.namespace))
    except httpx.HTTPStatusError as error:
        missing = (Right("create", "authorization.k8s.io", f"selfsubjectaccessreviews ({error.response.status_code})"),)
    except httpx.HTTPError as error:
        raise Unreachable(str(error) or type(error).__name__) from None
    creates = not any(r.resource == "namespaces" for r in missing)
    runtime_classes = _items(api, "/apis/node.k8s.io/v1/runtimeclasses")
    claim = f"/api/v1/namespaces/{plan.namespace}/persistentvolumeclaims"
    return Observed(
        uid=uid,
        version=str(version.get("gitVersion", "")),
        missing=missing,
        space=space,
        refused=_tried(api, plan.namespace) if space is None and creates else "",
        openshift=any(group.get("name") == _OPENSHIFT for group in groups.get("groups", ())),
        nodes=nodes(api),
        classes=_items(api, "/apis/storage.k8s.io/v1/storageclasses"),
        runtime_classes=None if runtime_classes is None else tuple(c["metadata"]["name"] for c in runtime_classes),
        bound=bool(space and _items(api, claim)),
    )


def remove(api: KubernetesApi, namespace: str, space: Space, *, seconds: float) -> None:
    """Deletes that very namespace and waits until it is gone. Raises Unreachable, and TimeoutError where it stays."""
    path = f"/api/v1/namespaces/{namespace}"
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": space.uid}}
    if not space.going:
        _sent(api, "DELETE", path, options)
    end = time.monotonic() + seconds
    while (now := _space(api, namespace)) is not None and now.uid == space.uid:
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)


def _space(api: KubernetesApi, namespace: str) -> Space | None:
    path = f"/api/v1/namespaces/{namespace}"
    found = _get(api, path)
    if found is None:
        return None
    marks = found["metadata"].get("annotations") or {}
    return Space(
        uid=str(found["metadata"]["uid"]),
        stack=str(marks.get(names.STACK_ANNOTATION, "")),
        owner=str(marks.get(names.OWNER_ANNOTATION, "")),
        going="deletionTimestamp" in found["metadata"],
        quotas=_items(api, f"{path}/resourcequotas") or (),
        limits=_items(api, f"{path}/limitranges") or (),
    )


def _tried(api: KubernetesApi, namespace: str) -> str:
    """What a dry run of making the namespace is answered; empty where it would be made."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    answer = _sent(api, "POST", "/api/v1/namespaces?dryRun=All", body)
    return "" if answer.is_success else _message(answer)


def _get(api: KubernetesApi, path: str) -> dict[str, Any] | None:
    """One object; None where there is none, or this user may not see it."""
    answer = _sent(api, "GET", path)
    if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.FORBIDDEN):
        return None
    if not answer.is_success:
        raise Unreachable(f"{path}: {answer.status_code} {_message(answer)}")
    found: dict[str, Any] = answer.json()
    return found


def _items(api: KubernetesApi, path: str) -> tuple[dict[str, Any], ...] | None:
    found = _get(api, path)
    return None if found is None else tuple(found.get("items") or ())


def _sent(api: KubernetesApi, method: str, path: str, body: Any = None) -> httpx.Response:
    try:
        answer = api.client.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise Unreachable(str(error) or type(error).__name__) from None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Unauthorized(f"{method} {path}: 401 {_message(answer)}")
    return answer


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", ""))[:300]
    except ValueError:
        return answer.text[:300]
