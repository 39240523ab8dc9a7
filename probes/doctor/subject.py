"""What is examined: a machine, and the stack that runs or shall run on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from probes.diagnosis.problem import clean
from probes.kubernetes_api import KubernetesApi
from probes.nvidia import Layer, Machine, Ran
from probes.nvidia.layer import is_wsl
from probes.nvidia.parse import Docker, docker
from stacks.names import STACK_LABEL
from stacks.plan import KubernetesPlan, Plan


@dataclass(frozen=True)
class Subject:
    """`plan` is None where no stack was named. `api` is None where the stack has no kubeconfig yet, or no Kubernetes;
    `no_api` says why.
    """

    machine: Machine
    plan: Plan | None = None
    api: KubernetesApi | None = None
    no_api: str = ""

    @property
    def stack(self) -> str:
        """The stack's name, as commands are typed."""
        return self.plan.stack if self.plan else "STACK"

    @property
    def driver(self) -> str:
        """The driver of the stack; empty without one."""
        return self.plan.cluster.driver if self.plan else ""

    @property
    def kubernetes(self) -> KubernetesPlan | None:
        """The cluster's slice of the plan."""
        return self.plan.cluster if self.plan and isinstance(self.plan.cluster, KubernetesPlan) else None

    @cached_property
    def wsl(self) -> bool:
        """Whether this is Linux under WSL."""
        return is_wsl(self.machine)

    @cached_property
    def docker_said(self) -> Ran:
        """docker info, as it came."""
        return self.machine.run(["docker", "info", "--format", "{{json .}}"])

    @cached_property
    def docker(self) -> Docker | None:
        """The daemon; None where none answers."""
        return docker(self.docker_said.output)

    @cached_property
    def answering(self) -> KubernetesApi | None:
        """The API, where its server answers now."""
        try:
            return self.api if self.api and self.api.get("/version").is_success else None
        except Exception:  # noqa: BLE001  (whatever a client raises: the layer `cluster` says it)
            return None

    @cached_property
    def serving(self) -> tuple[str, ...]:
        """The stack's pods or containers that run: what they hold is the stack's own. Empty where nobody can be
        asked.
        """
        if self.driver == "docker":
            words = ["docker", "ps", "--filter", f"label={STACK_LABEL}={self.stack}", "--format", "{{.Names}}"]
            ran = self.machine.run(words)
            return tuple(ran.output.split()) if ran.ok else ()
        if self.answering is None or self.kubernetes is None:
            return ()
        try:
            pods = self.answering.items(f"/api/v1/namespaces/{self.kubernetes.namespace}/pods")
        except Exception:  # noqa: BLE001  (whatever a client raises: then nothing is known to run)
            return ()
        return tuple(p["metadata"]["name"] for p in pods if p.get("status", {}).get("phase") == "Running")


def ok(ident: str, evidence: str) -> Layer:
    """A layer that is as it should be."""
    return Layer(ident, "ok", clean(evidence))


def skipped(ident: str, why: str) -> Layer:
    """A layer that was not looked at, or that does not matter here."""
    return Layer(ident, "skipped", clean(why))


def warn(ident: str, evidence: str, cause: str, fix: str, signature: str = "") -> Layer:
    """A layer that stops nothing yet."""
    return Layer(ident, "warn", clean(evidence), cause, fix, signature)


def fail(ident: str, evidence: str, cause: str, fix: str, signature: str = "") -> Layer:
    """A layer that stops the stack."""
    return Layer(ident, "fail", clean(evidence), cause, fix, signature)
