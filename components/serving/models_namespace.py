"""The namespace of all models of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components import types
from components.cluster import namespace_manifests as namespace
from components.cluster.kubernetes_objects import KubernetesComponent
from components.serving.existing_manifests import hub_token_secret


@dataclass(frozen=True)
class ModelsNamespaceArgs:
    """`kubernetes` is the cluster's version, to which the Pod Security level is pinned. `api_key` and `hub_token` are
    secrets; the second is for pods that fetch weights. `marks` say whose the namespace is.
    """

    namespace: str
    kubernetes: str
    api_key: pulumi.Output[str] | None = None
    hub_token: pulumi.Output[str] | None = None
    marks: Mapping[str, str] | None = None


class ModelsNamespace(KubernetesComponent):
    """Creates: the namespace under Pod Security `restricted`, a default-deny NetworkPolicy, and the endpoint's key and
    the Hub's token if there are such.
    """

    namespace: pulumi.Output[str]
    made: pulumi.Resource
    """The namespace itself, whose removal takes everything in it along."""

    def __init__(self, name: str, args: ModelsNamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(types.MODELS_NAMESPACE, name, {"namespace": args.namespace}, opts)
        manifest = namespace.namespace(
            args.namespace, pod_security="restricted", component="models", kubernetes=args.kubernetes,
            annotations=args.marks,
        )  # fmt: skip
        self.made = made = self.declare(name, manifest)
        self._deleted_with = self._deleted_with or made
        self.declare(f"{name}-default-deny", namespace.default_deny(args.namespace), depends_on=[made])
        if args.api_key is not None:
            secret = namespace.api_key_secret(args.namespace, args.api_key)
            self.declare(f"{name}-api-key", secret, depends_on=[made])
        if args.hub_token is not None:
            secret = hub_token_secret(args.namespace, args.hub_token)
            self.declare(f"{name}-hub-token", secret, depends_on=[made])
        self.namespace = pulumi.Output.from_input(args.namespace)
        self.register_outputs({"namespace": self.namespace})
