"""Namespaces and what guards them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacks import names


def namespace(
    name: str, *, pod_security: str, component: str, kubernetes: str, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A namespace whose pods must keep to a Pod Security Standard (privileged, baseline or restricted) as the cluster's
    own version `kubernetes` defines it: a newer cluster refuses nothing that was checked.
    """
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            **({"annotations": dict(annotations)} if annotations else {}),
            "labels": {
                **names.common_labels(component),
                "pod-security.kubernetes.io/enforce": pod_security,
                "pod-security.kubernetes.io/enforce-version": ".".join(kubernetes.split(".")[:2]),
                "pod-security.kubernetes.io/warn": pod_security,
            },
        },
    }


def marks(stack: str, owner: str) -> dict[str, str]:
    """The annotations that say whose a namespace in somebody else's cluster is."""
    return {names.STACK_ANNOTATION: stack, names.OWNER_ANNOTATION: owner}


def default_deny(namespace_name: str) -> dict[str, Any]:
    """No pod of the namespace may be reached or reach anything unless another policy says so."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": namespace_name, "labels": names.common_labels("network")},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def api_key_secret(namespace_name: str, key: Any) -> dict[str, Any]:
    """The endpoint's bearer key; `key` is a Pulumi secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.API_KEY_SECRET,
            "namespace": namespace_name,
            "labels": names.common_labels("gateway"),
        },
        "type": "Opaque",
        "stringData": {"apiKey": key},
    }
