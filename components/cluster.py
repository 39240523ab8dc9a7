"""The Kubernetes that carries a stack."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from components import types
from components.host_command import host_command
from components.kubernetes_objects import Kubernetes
from stacks.planning.plan import EmbeddedPlan, MinikubePlan, canonical


class Cluster(pulumi.ComponentResource):
    """Creates: the bootstrap Command (`python -m host <driver> ensure`) and the Kubernetes provider on a fixed
    kubeconfig path.

    Does not: read the kubeconfig, or take an address or a name from the Command's output; both would be unknown in
    preview.
    """

    def __init__(
        self,
        name: str,
        plan: MinikubePlan | EmbeddedPlan,
        *,
        stack: str,
        epoch: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(types.CLUSTER, name, None, opts)
        # The epoch goes up when our cluster is found dead, so that the otherwise unchanged Command runs again.
        environment = {"LAB_STACK": stack, "LAB_SPEC": canonical(plan), "LAB_EPOCH": str(epoch)}
        bootstrap = host_command(f"{name}-ensure", plan.driver, environment, opts=pulumi.ResourceOptions(parent=self))
        provider = k8s.Provider(
            f"{name}-kubernetes",
            kubeconfig=plan.kubeconfig,
            cluster_identifier=plan.identifier,
            enable_secret_mutable=True,
            enable_config_map_mutable=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[bootstrap], version=plan.provider),
        )
        self.kubernetes = Kubernetes(provider, bootstrap)
        self.register_outputs({"kubeconfig": plan.kubeconfig})
