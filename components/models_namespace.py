"""The namespace of all models."""

from __future__ import annotations

import pulumi

from components import types
from components.kubernetes_objects import Kubernetes
from components.manifests import namespace
from stacks import names


class ModelsNamespace(pulumi.ComponentResource):
    """Creates: the namespace under Pod Security `restricted`, a default-deny NetworkPolicy, and the endpoint's key if
    there is one.
    """

    def __init__(
        self,
        name: str,
        kubernetes: Kubernetes,
        *,
        api_key: pulumi.Output[str] | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(types.MODELS_NAMESPACE, name, None, opts)
        space = kubernetes.declare(
            name,
            namespace.namespace(names.MODELS_NAMESPACE, pod_security="restricted", component="models"),
            parent=self,
        )
        kubernetes.declare(
            f"{name}-default-deny", namespace.default_deny(names.MODELS_NAMESPACE), parent=self, depends_on=[space]
        )
        if api_key is not None:
            kubernetes.declare(f"{name}-api-key", namespace.api_key_secret(api_key), parent=self, depends_on=[space])
        self.register_outputs({})
