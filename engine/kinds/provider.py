"""`pulumi:providers:*`: a record of a provider's configuration."""

from __future__ import annotations

from typing import Any

from engine import diff, urns
from engine.diff import Change
from engine.kinds.base import Subject
from engine.state import Resource
from engine.wire import UNKNOWN

_GO_VERSION = "__pulumi-go-provider-version"  # written by the plugin itself; no part of what the program asks for
_CLUSTER_KEYS = ("kubeconfig", "context", "cluster")


class Provider:
    """Explicit and default providers of the packages that the engine knows."""

    applied_by_cli_only = False

    def check(self, subject: Subject, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:
        """Adds what the CLI adds to each provider's inputs."""
        recorded = (old or {}).get("inputs", {})
        kept = {_GO_VERSION: recorded[_GO_VERSION]} if _GO_VERSION in recorded else {}
        return {"__internal": {}, **kept, **inputs, **({"version": subject.version} if subject.version else {})}

    def diff(self, subject: Subject, old: Resource, inputs: dict[str, Any]) -> Change:
        """A Kubernetes provider is replaced when its cluster is another one: by its identifier, where it has one."""
        before = old.get("inputs", {})
        ignored = ("__internal", _GO_VERSION)
        changed = tuple(sorted({str(path[0]) for path in diff.compare(before, inputs) if path[0] not in ignored}))
        if not changed or urns.package_of(subject.type) != "kubernetes":
            return Change(changed_keys=changed)
        identifiers = before.get("clusterIdentifier"), inputs.get("clusterIdentifier")
        if identifiers[1] and identifiers[0] == identifiers[1]:
            return Change(changed_keys=changed)
        replaces = ["clusterIdentifier"] if all(identifiers) and "clusterIdentifier" in changed else []
        replaces += [key for key in _CLUSTER_KEYS if inputs.get(key) == UNKNOWN]
        replaces += [key for key in ("renderYamlToDirectory",) if key in changed]
        unread = [key for key in _CLUSTER_KEYS if key in changed] if not replaces else []
        note = "changed without a cluster_identifier: the embedded engine takes it for the same cluster, the CLI compares the kubeconfigs"
        return Change(changed_keys=changed, replace_keys=tuple(replaces), notes=(f"{', '.join(unread)} {note}",) if unread else ())

    def outputs(self, inputs: dict[str, Any], old: Resource | None) -> dict[str, Any]:  # noqa: ARG002 (the protocol)
        """The configuration itself."""
        return {key: value for key, value in inputs.items() if key != "__internal"}
