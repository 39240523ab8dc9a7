"""Every call of minikube and Docker that the driver makes, with its time limit in seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.drivers.minikube import failures
from host.drivers.minikube.wanted import Wanted
from host.system import command
from stacks.errors import HostError

_LOOK = 60.0
_START = 3600.0  # a first start downloads the node's image, about 1.3 GB, and Kubernetes
_STOP = 600.0


@dataclass(frozen=True)
class Tools:
    """The two programs for one profile. `minikube` is None where the planned version is not on this machine."""

    wanted: Wanted
    minikube: Path | None

    def require_docker(self) -> None:
        """Raises HostError where Docker is missing, does not run, or does not let this user in."""
        try:
            done = command.run(["docker", "version", "--format", "{{.Server.Version}}"], timeout=_LOOK, check=False)
        except command.CommandFailed as error:
            raise failures.docker(self.wanted, error.code, error.output) from None
        if done.returncode:
            raise failures.docker(self.wanted, done.returncode, done.stdout + done.stderr)

    def inspect(self, container: str) -> dict[str, Any] | None:
        """One container as Docker describes it, None where there is none. Raises HostError."""
        done = command.run(["docker", "container", "inspect", container], timeout=_LOOK, check=False)
        if done.returncode:
            if "no such container" in (done.stderr + done.stdout).lower():
                return None
            raise failures.docker(self.wanted, done.returncode, done.stdout + done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    def status(self) -> tuple[int, str]:
        """Exit code and standard output of `minikube status`; the code says more than the text."""
        done = command.run(
            [self._minikube, "status", self._profile, "--output=json"],
            timeout=_LOOK,
            environment=self._environment,
            check=False,
        )
        return done.returncode, done.stdout

    def start(self) -> None:
        """The command that the plan shows: makes, resumes, upgrades or restarts the profile. Raises HostError."""
        # Docker would make a missing folder itself, as root's.
        self.wanted.folder.mkdir(parents=True, exist_ok=True)
        self._watched(self.wanted.start, limit=_START)

    def stop(self) -> None:
        """The node stops; what is in it stays."""
        self._watched(("stop", self._profile), limit=_STOP)

    def delete(self) -> None:
        """The profile, its container, volume and network are gone, also where only some of them were left."""
        self._watched(("delete", self._profile), limit=_STOP)

    def disable(self, addon: str) -> None:
        """Switches an add-on off; minikube remembers it for later starts."""
        self._watched(("addons", "disable", addon, self._profile), limit=_STOP)

    def update_context(self) -> None:
        """Writes the API server's present address into minikube's kubeconfig: its port changes with each restart."""
        command.run(
            [self._minikube, "update-context", self._profile],
            timeout=_LOOK,
            environment=self._environment,
            check=False,  # an API server that cannot be reached is seen right afterwards
        )

    def resize(self) -> None:
        """Gives the running node the planned memory and processors; minikube itself cannot. Raises HostError."""
        memory = f"{self.wanted.plan.memory_mib}m"
        self._docker(
            "container", "update", f"--memory={memory}", f"--memory-swap={memory}",
            f"--cpus={self.wanted.plan.cpus}", self.wanted.profile,
        )  # fmt: skip

    def node_sees_gpu(self) -> tuple[bool, str]:
        """Whether the node's own nvidia-smi lists a GPU, and what it said."""
        done = command.run(["docker", "exec", self.wanted.profile, "nvidia-smi", "-L"], timeout=_LOOK, check=False)
        said = (done.stdout + done.stderr).strip()
        return done.returncode == 0 and "GPU 0:" in done.stdout, said

    def _docker(self, *arguments: str) -> None:
        done = command.run(["docker", *arguments], timeout=_LOOK, check=False)
        if done.returncode:
            raise failures.docker(self.wanted, done.returncode, done.stdout + done.stderr)

    def _watched(self, arguments: Sequence[str], *, limit: float) -> None:
        """Runs minikube with its progress on our standard error. Raises HostError with cause and remedy."""
        lines: list[str] = []

        def show(line: str) -> None:
            lines.append(line)
            sys.stderr.write(f"  minikube: {line.rstrip()}\n")
            sys.stderr.flush()

        done = command.stream(
            [self._minikube, *arguments], cwd=Path.home(), environment=self._environment, on_line=show, limit=limit
        )
        if done.interrupted:
            raise KeyboardInterrupt
        if done.code:
            raise failures.minikube(self.wanted, arguments, done.code, "".join(lines) + done.errors)

    @property
    def _minikube(self) -> Path:
        if self.minikube is None:
            raise HostError(f"minikube {self.wanted.plan.version} is not on this machine")
        return self.minikube

    @property
    def _profile(self) -> str:
        return f"--profile={self.wanted.profile}"

    @property
    def _environment(self) -> dict[str, str]:
        """The user's own kubeconfig and its current context stay as they are."""
        return {"KUBECONFIG": str(self.wanted.tool_kubeconfig)}
