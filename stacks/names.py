"""Every name, label, path and URL that more than one place must agree on."""

from __future__ import annotations

import hashlib
import re

PART_OF = "local-ai-lab"
MODELS_NAMESPACE = "local-ai-models"
NVIDIA_NAMESPACE = "nvidia-device-plugin"
STORAGE_CLASS = "local-ai-models"
API_KEY_SECRET = "endpoint-api-key"  # noqa: S105  (the name of a Secret)
MODELS_MOUNT = "/models"
_LONGEST_STACK = 40  # a node's name may have 63 characters
HTTP_PORT = 8000
"""vLLM's own default port of its OpenAI-compatible server."""

ENDPOINT_PORTS = range(30080, 30096)
"""Ports that endpoints may have: inside Kubernetes' node-port range, few enough to publish all of them when a cluster
is made.
"""


def state_folder(stack: str) -> str:
    """The folder of one stack's host state; `~` is expanded where it is used, so that plans are equal on every machine."""
    return f"~/.local/state/local-ai-lab/stacks/{stack}"


def kubeconfig(stack: str) -> str:
    """The kubeconfig that the bootstrap writes and the Kubernetes provider reads."""
    return f"{state_folder(stack)}/kubeconfig"


def cluster_identifier(stack: str) -> str:
    """The provider's clusterIdentifier: equal as long as it is the same cluster to us, so that a new address replaces
    nothing.
    """
    return f"local-ai-lab-{stack}"


def cluster_name(stack: str) -> str:
    """The embedded cluster and its node: a DNS label whatever the stack is called, and different for different stacks."""
    slug = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    if slug == stack and len(slug) <= _LONGEST_STACK:
        return f"{PART_OF}-{slug}"
    return f"{PART_OF}-{slug[:_LONGEST_STACK]}-{hashlib.sha256(stack.encode()).hexdigest()[:8]}"


def common_labels(component: str) -> dict[str, str]:
    """The recommended Kubernetes labels for things that belong to the lab."""
    return {
        "app.kubernetes.io/part-of": PART_OF,
        "app.kubernetes.io/managed-by": "pulumi",
        "app.kubernetes.io/component": component,
    }


def model_labels(name: str) -> dict[str, str]:
    """Labels of one model's objects."""
    return {"app.kubernetes.io/name": name, **common_labels("model")}


def model_selector(name: str) -> dict[str, str]:
    """The labels by which a Service, a Deployment and policies find one model's pods; never change them for a deployed
    stack.
    """
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF}


def endpoint_service(name: str) -> str:
    """The Service through which the machine's own port reaches one model."""
    return f"{name}-endpoint"


def model_cache(path: str) -> str:
    """The name of the cache's volume and claim: another folder is another volume, because a volume's path can never
    change.
    """
    return f"model-cache-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def reserved_model_name(name: str) -> str | None:
    """Why a model cannot be called `name`, or None: its objects would take the place of others in the namespace."""
    if name == "vllm":
        return "a Service of that name makes Kubernetes inject VLLM_PORT, which breaks vLLM"
    if name == "default":
        return "the namespace's own ServiceAccount is called that"
    if name == "default-deny":
        return "the NetworkPolicy that closes the namespace is called that"
    if name.endswith("-endpoint"):
        return "the Services of endpoints are called that"
    return None


def model_directory(repository: str, revision: str | None) -> str:
    """The folder of one model's weights below the cache: readable, and different for each revision."""
    slug = re.sub(r"[^a-z0-9.]+", "-", repository.lower()).strip("-")
    return f"{slug}-{revision[:12]}" if revision else slug


def endpoint_url(host: str, port: int) -> str:
    """The base URL that an OpenAI client is given."""
    return f"http://{host}:{port}/v1"


def embedded_node_address(slot: int) -> str:
    """The embedded cluster's address on its veth: the second host of the slot's /30 in 10.231.0.0/24."""
    return f"10.231.0.{slot * 4 + 2}"


def free_port(taken: set[int]) -> int:
    """The first endpoint port that nobody has, or the last one where all are taken."""
    return next((port for port in ENDPOINT_PORTS if port not in taken), ENDPOINT_PORTS[-1])
