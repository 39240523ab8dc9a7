"""What all objects of the gateway in a stack's namespace have alike."""

from __future__ import annotations

from typing import Any, Final

from stacks import names

GATEWAY_API: Final = "gateway.networking.k8s.io"
ENVOY_GATEWAY: Final = "gateway.envoyproxy.io"
LISTENER: Final = "clients"
"""The Gateway's one listener; its name is in the names of Envoy's configuration."""

ACCEPTED: Final = 'jsonpath={.status.ancestors[0].conditions[?(@.type=="Accepted")].status}=True'
PROGRAMMED: Final = 'jsonpath={.status.ancestors[0].conditions[?(@.type=="Programmed")].status}=True'
"""What Pulumi waits for: a policy that is there may still be refused or in conflict with another."""


def custom(
    group: str, kind: str, name: str, namespace: str, spec: dict[str, Any], *, wait: str | None = None
) -> dict[str, Any]:
    """One object; `wait` is the condition that Pulumi waits for."""
    version = "v1" if group == GATEWAY_API else "v1alpha1"
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": names.common_labels("gateway")}
    if wait:
        metadata["annotations"] = {"pulumi.com/waitFor": wait}
    return {"apiVersion": f"{group}/{version}", "kind": kind, "metadata": metadata, "spec": spec}


def of_gateway() -> dict[str, str]:
    """What policies of the whole gateway target."""
    return {"group": GATEWAY_API, "kind": "Gateway", "name": names.GATEWAY}
