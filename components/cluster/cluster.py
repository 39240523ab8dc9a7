"""The Kubernetes that carries a stack."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components import types
from components.host_command import host_command
from stacks.plan import KubernetesPlan, canonical


@dataclass(frozen=True)
class ClusterArgs:
    """`epoch` goes up when our cluster is found dead, so that the otherwise unchanged Command runs again."""

    stack: str
    plan: KubernetesPlan
    epoch: int


class Cluster(pulumi.ComponentResource):
    """Creates: the bootstrap Command (`python -m host <driver> ensure`) and the Kubernetes provider on a fixed
    kubeconfig path.

    Does not: read the kubeconfig, or take an address or a name from the Command's output; both would be unknown in
    preview.
    """

    bootstrap: pulumi.Resource | None
    """The resource whose removal takes every object of the cluster with it; None for a cluster that stays."""
    provider: k8s.Provider
    kubeconfig: pulumi.Output[str]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        plan = args.plan
        super().__init__(types.CLUSTER, name, {"driver": plan.driver, "identifier": plan.identifier}, opts)
        environment = {"LAB_STACK": args.stack, "LAB_SPEC": canonical(plan), "LAB_EPOCH": str(args.epoch)}
        ensure = host_command(f"{name}-ensure", plan.driver, environment, opts=pulumi.ResourceOptions(parent=self))
        self.bootstrap = None if plan.foreign else ensure
        self.provider = k8s.Provider(
            f"{name}-kubernetes",
            kubeconfig=plan.kubeconfig,
            cluster_identifier=plan.identifier,
            enable_secret_mutable=True,
            enable_config_map_mutable=True,
            # what a killed run made and did not record is taken over: `ensure` has seen that the namespace is ours
            upsert_existing_objects=True if plan.foreign else None,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[ensure], version=plan.provider),
        )
        self.kubeconfig = pulumi.Output.from_input(plan.kubeconfig)
        self.register_outputs({"kubeconfig": self.kubeconfig})
