"""The gateway's files as Secrets of a stack's namespace: `python -m host gateway`. They go from the state folder to the
API server, and into no state of Pulumi. An Envoy that runs reads them again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx

from host.gateway import gateway_files
from probes.kubernetes_api import KubernetesApi
from stacks import names
from stacks.errors import CheckFailed, HostError

_FILES = names.GATEWAY_FILES


@dataclass(frozen=True)
class Place:
    """Where a stack's gateway is. `hosts` are the names and addresses of its certificate; `kind` says who reads the
    Secrets: an Envoy with files of its own, or Envoy Gateway.
    """

    stack: str
    kubeconfig: str
    namespace: str
    hosts: tuple[str, ...]
    kind: str = "envoy"

    @classmethod
    def told(cls, environment: Mapping[str, str]) -> Place:
        """From LAB_STACK and LAB_SPEC. Raises HostError."""
        try:
            spec = json.loads(environment["LAB_SPEC"])
            hosts = tuple(str(host) for host in spec["hosts"])
            kind = str(spec.get("kind", "envoy"))
            return cls(environment["LAB_STACK"], str(spec["kubeconfig"]), str(spec["namespace"]), hosts, kind)
        except (KeyError, ValueError, TypeError) as error:
            raise HostError(
                f"LAB_STACK and LAB_SPEC do not say where the gateway is: {error!r}",
                remedy="`lab up` and `pulumi up` set them",
            ) from None


def ensure(environment: Mapping[str, str]) -> None:
    """Files and Secrets are there and the same afterwards. A machine that lacks the engines' key takes the cluster's,
    so that engines need no restart. Raises HostError.
    """
    place = Place.told(environment)
    with _api(place) as client:
        engine_key = _read(client, place, names.API_KEY_SECRET, "apiKey")
        gateway_files.ensure(place.stack, None, place.hosts, known_key=engine_key)
        _write(client, place, names.API_KEY_SECRET, {"apiKey": gateway_files.engine_key(place.stack)})
    publish(place)


def status(environment: Mapping[str, str]) -> None:
    """Says whether the cluster has what the machine has."""
    place = Place.told(environment)
    folder = gateway_files.mounted(place.stack)
    same = all((folder / name).exists() for name in _FILES)
    with _api(place) as client:
        same = same and all(
            _read(client, place, secret.name, key) == text
            for secret in _secrets(place)
            for key, text in secret.texts.items()
        )
    print(json.dumps({"state": "running" if same else "drifted"}))


def destroy(environment: Mapping[str, str]) -> None:
    """The kind's Secrets are gone afterwards, and the engines' key unless another kind has taken over; or the namespace
    or the cluster is. The machine's own files are kept, as they are for plain Docker. Raises HostError.
    """
    place = Place.told(environment)
    try:
        with _api(place) as client:
            others = {name for found in _NAMES.values() for name in found} - set(_NAMES[place.kind])
            taken_over = any(client.get(_path(place, name)).is_success for name in others)
            for name in (*_NAMES[place.kind], *(() if taken_over else (names.API_KEY_SECRET,))):
                answer = client.delete(_path(place, name))
                if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
                    raise HostError(f"Secret {name} cannot be removed: {answer.status_code} {answer.text[:200]}")
    except _Silent:
        return  # a cluster that is gone has no Secret


def publish(place: Place) -> None:
    """The cluster's Secrets are the machine's files afterwards, and the gateway's kubelet is told to look now: by
    itself it would within a minute or two. Envoy Gateway sees a changed Secret by itself. Raises HostError.
    """
    wanted = _secrets(place)
    with _api(place) as client:
        for secret in wanted:
            _write(client, place, secret.name, secret.texts, kind=secret.kind)
        if place.kind != "envoy":
            return
        version = hashlib.sha256(json.dumps(wanted[0].texts, sort_keys=True).encode()).hexdigest()[:12]
        selector = ",".join(f"{key}={value}" for key, value in names.gateway_selector().items())
        pods = f"/api/v1/namespaces/{place.namespace}/pods"
        for pod in _done(client.get(pods, params={"labelSelector": selector}), "pods").json()["items"]:
            mark = {"metadata": {"annotations": {names.GATEWAY_KEYS_ANNOTATION: version}}}
            told = client.patch(
                f"{pods}/{pod['metadata']['name']}",
                content=json.dumps(mark),
                headers={"content-type": "application/merge-patch+json"},
            )
            if told.status_code != httpx.codes.NOT_FOUND:  # gone meanwhile: the next one starts with the new files
                _done(told, "the gateway's pod")


@dataclass(frozen=True)
class _Secret:
    """One Secret as it should be."""

    name: str
    texts: Mapping[str, str]
    kind: str = "Opaque"


_OF_ENVOY_GATEWAY: Final = (names.GATEWAY_CLIENTS_SECRET, names.GATEWAY_TLS_SECRET, names.GATEWAY_ENGINE_SECRET)
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "envoy": (names.GATEWAY_SECRET,),
    "envoy-gateway": _OF_ENVOY_GATEWAY,
    "aibrix": _OF_ENVOY_GATEWAY,
}


def _secrets(place: Place) -> list[_Secret]:
    """What the gateway reads: files for an Envoy of our own; for Envoy Gateway a key for each client, the certificate,
    and what engines are sent.
    """
    if place.kind == "envoy":
        folder = gateway_files.mounted(place.stack)
        there = [name for name in _FILES if (folder / name).exists()]
        return [_Secret(names.GATEWAY_SECRET, {name: (folder / name).read_text(encoding="utf-8") for name in there})]
    keys, tls = gateway_files.keys(place.stack), gateway_files.authority(place.stack).parent
    pair = {f"tls.{part}": (tls / f"server.{part}").read_text(encoding="utf-8") for part in ("crt", "key")}
    return [
        _Secret(names.GATEWAY_CLIENTS_SECRET, {name: keys.of(name) for name in keys.names() if not keys.models(name)}),
        _Secret(names.GATEWAY_TLS_SECRET, pair, "kubernetes.io/tls"),
        _Secret(names.GATEWAY_ENGINE_SECRET, {"credential": f"Bearer {gateway_files.engine_key(place.stack)}"}),
    ]


class _Silent(HostError):
    """The API server does not answer, or there is no kubeconfig."""


@contextmanager
def _api(place: Place) -> Iterator[httpx.Client]:
    """A connection to the stack's API server. Raises _Silent where it does not answer."""
    try:
        client = KubernetesApi.from_kubeconfig(place.kubeconfig, stack=place.stack).client
    except CheckFailed as error:
        raise _Silent(error.message, remedy=error.remedy) from None
    try:
        with client:
            yield client
    except httpx.HTTPError as error:
        raise _Silent(f"the API server does not answer: {error}", remedy=f"./lab up {place.stack}") from None


def _read(client: httpx.Client, place: Place, name: str, key: str) -> str | None:
    answer = client.get(_path(place, name))
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None
    data = _done(answer, f"Secret {name}").json().get("data") or {}
    return base64.b64decode(data[key]).decode() if key in data else None


def _write(client: httpx.Client, place: Place, name: str, texts: Mapping[str, str], *, kind: str = "Opaque") -> None:
    """Server-side apply of one Secret, whole."""
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": place.namespace, "labels": names.common_labels("gateway")},
        "type": kind,
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()},
    }
    answer = client.patch(
        _path(place, name),
        params={"fieldManager": "local-ai-lab", "force": "true"},
        content=json.dumps(document),
        headers={"content-type": "application/apply-patch+yaml"},
    )
    _done(answer, f"Secret {name}")


def _path(place: Place, name: str) -> str:
    return f"/api/v1/namespaces/{place.namespace}/secrets/{name}"


def _done(answer: httpx.Response, what: str) -> httpx.Response:
    if answer.is_error:  # never the body of a Secret: only what the API server said
        said = answer.json().get("message", "") if "json" in answer.headers.get("content-type", "") else ""
        raise HostError(f"{what}: the API server answered {answer.status_code} {said[:200]}".rstrip())
    return answer
