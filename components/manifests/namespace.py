"""Namespaces and what guards them."""

from __future__ import annotations

from typing import Any

from stacks import names

_PSS_VERSION = "latest"


def namespace(name: str, *, pod_security: str, component: str) -> dict[str, Any]:
    """A namespace whose pods must keep to a Pod Security Standard: privileged, baseline or restricted."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {
                **names.common_labels(component),
                "pod-security.kubernetes.io/enforce": pod_security,
                "pod-security.kubernetes.io/enforce-version": _PSS_VERSION,
                "pod-security.kubernetes.io/warn": pod_security,
            },
        },
    }


def default_deny(namespace_name: str) -> dict[str, Any]:
    """No pod of the namespace may be reached or reach anything unless another policy says so."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": namespace_name, "labels": names.common_labels("network")},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }


def api_key_secret(key: Any) -> dict[str, Any]:
    """The endpoint's bearer key; `key` is a Pulumi secret."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.API_KEY_SECRET,
            "namespace": names.MODELS_NAMESPACE,
            "labels": names.common_labels("gateway"),
        },
        "type": "Opaque",
        "stringData": {"apiKey": key},
    }
