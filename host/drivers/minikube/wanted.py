"""What the plan wants of the profile, with the machine's own paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host.drivers import specification
from stacks.plan import MinikubePlan


@dataclass(frozen=True)
class Wanted:
    """One stack's profile. Paths are absolute: minikube and Docker know no ~."""

    stack: str
    plan: MinikubePlan

    @property
    def profile(self) -> str:
        """The profile, which is also the name of its node, of the node's container and of the kubeconfig's context."""
        return self.plan.name

    @property
    def folder(self) -> Path:
        """The machine's folder that the node mounts."""
        return Path(self.plan.mount).expanduser()

    @property
    def mount(self) -> str:
        """The mount as minikube records it and Docker binds it."""
        return f"{self.folder}:{self.plan.mounted_at}"

    @property
    def kubeconfig(self) -> Path:
        """The stack's own kubeconfig, which Pulumi's provider reads."""
        return Path(self.plan.kubeconfig).expanduser()

    @property
    def tool_kubeconfig(self) -> Path:
        """The kubeconfig that minikube writes in place of the user's own."""
        return Path(self.plan.tool_kubeconfig).expanduser()

    @property
    def start(self) -> tuple[str, ...]:
        """The arguments of the command that the plan shows, behind the program's name."""
        return tuple(word.replace("=~/", f"={Path.home()}/", 1) for word in self.plan.start[1:])

    @property
    def config(self) -> Path:
        """Where minikube keeps the profile's configuration."""
        return _minikube_home() / "profiles" / self.profile / "config.json"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Wanted:
        """From LAB_STACK and LAB_SPEC. Raises HostError."""
        return cls(*specification.read(environment, MinikubePlan, what="minikube profile"))


def _minikube_home() -> Path:
    """As minikube's own localpath.MiniPath finds it."""
    said = os.environ.get("MINIKUBE_HOME", "")
    if not said:
        return Path.home() / ".minikube"
    return Path(said) if Path(said).name == ".minikube" else Path(said) / ".minikube"
