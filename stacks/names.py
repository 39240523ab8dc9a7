"""Every name, label, path and URL that more than one place must agree on."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

PART_OF = "local-ai-lab"
Task = Literal["chat", "completion", "embedding", "rerank", "transcription"]
"""What a model is asked for: chat and text completions, vectors of texts, an order of documents, words of speech."""
NVIDIA_NAMESPACE = "nvidia-device-plugin"
GPU = "nvidia.com/gpu"
"""What pods ask for and nodes offer, and the key of the taint on nodes that have it."""
HUB_TOKEN_SECRET = "model-hub-token"  # noqa: S105  (the name of a Secret)
API_KEY_SECRET = "endpoint-api-key"  # noqa: S105  (the name of a Secret)
GATEWAY = "gateway"
"""Every object of the gateway in a stack's namespace, and its container."""
GATEWAY_SECRET = "gateway-files"  # noqa: S105  (the name of a Secret)
GATEWAY_CLIENTS_SECRET = "gateway-clients"  # noqa: S105  (the name of a Secret)
GATEWAY_TLS_SECRET = "gateway-tls"  # noqa: S105  (the name of a Secret)
GATEWAY_ENGINE_SECRET = "gateway-engine-key"  # noqa: S105  (the name of a Secret)
"""What Envoy Gateway reads of a stack's namespace: a key for each client, the certificate, what engines are sent."""
ENVOY_GATEWAY_NAMESPACE = "envoy-gateway-system"
"""Where Envoy Gateway runs, and the Envoys that it makes: upstream's own name."""
AIBRIX_PLUGIN, AIBRIX_REDIS, AIBRIX_PORT = "gateway-plugins", "gateway-redis", 50052
"""The objects of AIBrix' parts in a stack's namespace, and where its plugin listens: cmd/plugins, v0.5.0, v0.7.0."""
GATEWAY_KEYS_ANNOTATION = "local-ai-lab/gateway-files"
"""On the gateway's pods: which of these files they should have; a kubelet looks at a pod that changes at once."""
MODELS_MOUNT = "/models"
_FIRST_SERVICE = 32  # above what the cluster takes for itself: its own Service, and where DNS would be
_LONGEST_STACK = 40  # a node's name may have 63 characters
HTTP_PORT = 8000
"""vLLM's own default port of its OpenAI-compatible server."""

ENGINE_UID = 10001
"""The user and group of an engine's processes: above 10000, where no user of the machine lives (checkov CKV_K8S_40)."""

HEALTH_SECONDS = 5
"""How long an engine may take to answer on its health path."""

STACK_LABEL, PROJECT_LABEL = "local-ai-lab.stack", "local-ai-lab.project"
"""Whose a container, network or volume of plain Docker is: the stack, and the folder of the checkout that made it."""
STACK_ANNOTATION, OWNER_ANNOTATION = f"{PART_OF}/stack", f"{PART_OF}/owner"
"""Whose a namespace in somebody else's cluster is: the stack, and the checkout that made it."""
DIGEST_LABEL, KEY_LABEL = "local-ai-lab.digest", "local-ai-lab.api-key"
"""What a container was made from: its service's digest, and 32 bits of the key's."""

ENGINE_LABEL = "local-ai-lab/engine"
"""Which engine of its model a pod is, where engines share a card and each has a Deployment of its own."""

CLAIM_ANNOTATIONS = {"pulumi.com/skipAwait": "true"}
"""Of a PersistentVolumeClaim: the pods that mount it wait for it, and Pulumi's own wait was seen to miss that a claim
is bound and to end after five minutes (Kubernetes provider 4.25.0).
"""

GATEWAY_FOLDER = "/etc/local-ai-lab"
"""Where the gateway's container has its files."""

CLIENT_HEADER = "x-client-id"
"""The name of the key that a request came with; the gateway alone sets it."""

TOKEN_CLIENT_PREFIX = "oidc:"  # noqa: S105  (no secret)
"""Before the name of a client that came with a token of an identity provider; no key can have such a name."""

GATEWAY_MODELS_FILE, GATEWAY_MODELS_FILTER = "models.json", "models_of_clients"
"""Which models each client may ask: the file beside the keys, and the filter of the gateway that reads it."""
GATEWAY_FILES = ("keys.json", GATEWAY_MODELS_FILE, "engine-key.json", "certificate.json")
"""What an Envoy of our own reads beside its configuration; nothing of it is in a state of Pulumi."""
GATEWAY_ROUTE_METADATA = "local_ai_lab"
"""Where a route of the gateway says the `model` that it leads to."""

OWN_CLIENT = "lab"
"""The client that the lab's own checks are."""

ENDPOINT_PORTS = range(30080, 30096)
"""Ports that endpoints may have: inside Kubernetes' node-port range, few enough to publish all of them when a cluster
is made.
"""


def state_folder(stack: str) -> str:
    """The folder of one stack's host state; `~` is expanded where it is used, so that plans are equal on every
    machine.
    """
    return f"~/.local/state/local-ai-lab/stacks/{stack}"


def kubeconfig(stack: str) -> str:
    """The kubeconfig that the bootstrap writes and the Kubernetes provider reads."""
    return f"{state_folder(stack)}/kubeconfig"


def at_home(path: str, home: str) -> str:
    """`path` with a leading ~ written out as `home`: for those who know no home, such as a kubelet."""
    return home + path[1:] if path.startswith("~/") else path


def cluster_identifier(stack: str) -> str:
    """The provider's clusterIdentifier: equal as long as it is the same cluster to us, so that a new address replaces
    nothing.
    """
    return f"local-ai-lab-{stack}"


def cluster_name(stack: str) -> str:
    """The embedded cluster and its node: a DNS label whatever the stack is called, and different for different
    stacks.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    if slug == stack and len(slug) <= _LONGEST_STACK:
        return f"{PART_OF}-{slug}"
    return f"{PART_OF}-{slug[:_LONGEST_STACK]}-{hashlib.sha256(stack.encode()).hexdigest()[:8]}"


def namespace(stack: str) -> str:
    """The namespace of the stack's models, and the name of its StorageClass: two stacks on one cluster do not meet."""
    return cluster_name(stack)


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


def engine_deployment(model: str, engine: int) -> str:
    """The Deployment of one engine, where engines share a card and start one after another."""
    return f"{model}-engine-{engine}" if engine else model


def container(project: str, model: str) -> str:
    """The container of one model in the compose project `project` of plain Docker."""
    return f"{project}-{model}"


def embedded_service_address(slot: int, taken: int) -> str:
    """A Service's address on the embedded cluster, which has no DNS: the gateway's own first, then the models'."""
    return f"10.233.{slot}.{_FIRST_SERVICE + taken}"


def gateway_selector() -> dict[str, str]:
    """The labels by which a Service, a Deployment and policies find the gateway's pods."""
    return {"app.kubernetes.io/name": GATEWAY, "app.kubernetes.io/part-of": PART_OF}


def gateway_proxy_selector(namespace_name: str) -> dict[str, str]:
    """The labels that Envoy Gateway gives the Envoys of a stack's Gateway."""
    return {
        "gateway.envoyproxy.io/owning-gateway-namespace": namespace_name,
        "gateway.envoyproxy.io/owning-gateway-name": GATEWAY,
    }


def aibrix_labels(model: str) -> dict[str, str]:
    """The labels by which AIBrix finds a model's pods: docs/source/features/gateway-plugins.rst."""
    return {"model.aibrix.ai/name": model, "model.aibrix.ai/port": str(HTTP_PORT)}


def gateway_part_selector(part: str) -> dict[str, str]:
    """The labels by which a Service, a Deployment and policies find one of AIBrix' parts."""
    return {"app.kubernetes.io/name": part, "app.kubernetes.io/part-of": PART_OF}


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
    if name in (GATEWAY, AIBRIX_PLUGIN, AIBRIX_REDIS):
        return "the gateway's own objects are called that"
    if name == "default-deny":
        return "the NetworkPolicy that closes the namespace is called that"
    if name.endswith("-endpoint"):
        return "the Services of endpoints are called that"
    if re.search(r"-engine-[0-9]+$", name):
        return "the Deployments of engines that share a card are called that"
    return None


def model_claim(storage_class: str | None, access_mode: str) -> str:
    """The name of the claim in somebody else's cluster: of another class it is another one, since neither can
    change.
    """
    return f"model-cache-{hashlib.sha256(f'{storage_class} {access_mode}'.encode()).hexdigest()[:8]}"


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
