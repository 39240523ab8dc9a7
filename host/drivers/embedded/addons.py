"""What a cluster has beside Kubernetes itself, where its plan says so: DNS, and the definitions of the Gateway API."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Final

from host.artifacts.images import static
from host.drivers.embedded import api, dns_manifests
from host.drivers.embedded.layout import Layout
from host.system.progress import step
from stacks.errors import HostError

_CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_NOTE_PATH: Final = "/api/v1/namespaces/kube-system/configmaps/local-ai-lab-definitions"
_MADE_OF: Final = "local-ai-lab/made-of"
_READY_SECONDS: Final = 120.0


def ensure(layout: Layout) -> list[str]:
    """The add-ons of the plan are there and ready; returns what was changed. Raises HostError."""
    makers: Mapping[str, Callable[[Layout], list[str]]] = {"dns": _dns, "gateway-definitions": _definitions}
    return [change for addon in layout.plan.addons for change in makers[addon](layout)]


def _dns(layout: Layout) -> list[str]:
    image = next(name for name in layout.plan.images if name.startswith(f"{static.COREDNS.repository}:"))
    changes = []
    for path, document in dns_manifests.objects(image, layout.dns_service):
        made_of = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
        metadata = {**document["metadata"], "annotations": {_MADE_OF: made_of}}
        there = api.find(layout, f"{path}/{metadata['name']}").get("metadata", {}).get("annotations", {})
        if there.get(_MADE_OF) != made_of:
            api.apply(layout, path, {**document, "metadata": metadata})
            changes.append(f"applied {document['kind']} {metadata['name']}")
    _await("cluster DNS", lambda: _unready(layout))
    return changes


def _definitions(layout: Layout) -> list[str]:
    """Server-side apply, because some are larger than an annotation of a client-side one may be. What was applied is
    written down last, so that the next run finishes one that was killed.
    """
    made_of = static.ENVOY_GATEWAY.digest[:16]
    noted = api.find(layout, _NOTE_PATH).get("data", {})
    if noted.get("madeOf") == made_of and not _missing(layout, set(noted["kinds"].split())):
        return []
    import yaml  # noqa: PLC0415  (definitions are parsed once in a cluster's life)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    kinds = set()
    with step("definitions of the Gateway API and of Envoy Gateway"):
        for text in static.definitions(layout.cache):
            for document in yaml.load_all(text, Loader=loader):
                if not document or document["kind"] != "CustomResourceDefinition":
                    continue  # the chart's policy of admission guards against older versions, which nobody has here
                api.apply(layout, _CRDS, document)
                spec = document["spec"]
                served = [version["name"] for version in spec["versions"] if version["served"]]
                kinds |= {f"{spec['group']}/{version}/{spec['names']['plural']}" for version in served}
    _await("definitions", lambda: ", ".join(sorted(_missing(layout, kinds))))
    name = _NOTE_PATH.rpartition("/")[2]
    note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    data = {"madeOf": made_of, "kinds": " ".join(sorted(kinds))}
    api.apply(layout, _NOTE_PATH.rpartition("/")[0], {**note, "data": data})
    return [f"applied definitions of {len(kinds)} kinds"]


def _missing(layout: Layout, kinds: set[str]) -> set[str]:
    """Which of them (group/version/plural) the API server does not serve."""
    versions = {kind.rpartition("/")[0] for kind in kinds}
    served = {
        f"{version}/{resource['name']}"
        for version in versions
        for resource in api.find(layout, f"/apis/{version}").get("resources", [])
    }
    return kinds - served


def _unready(layout: Layout) -> str:
    path = f"/apis/apps/v1/namespaces/{dns_manifests.SPACE}/deployments/{dns_manifests.NAME}"
    status = api.request(layout, "GET", path).get("status", {})
    generation = status.get("observedGeneration")
    return "" if generation and status.get("availableReplicas") else "no pod of it is ready"


def _await(what: str, problem: Callable[[], str]) -> None:
    if not (last := problem()):
        return
    end = time.monotonic() + _READY_SECONDS
    with step(f"waiting for the {what}"):
        while last:
            if time.monotonic() > end:
                raise HostError(f"{what}: {last}", remedy="run it again; if it stays: `lab down`, then `lab up`")
            time.sleep(0.3)
            last = problem()
