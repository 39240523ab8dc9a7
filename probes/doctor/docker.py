"""The Docker daemon: whether it answers, to whom, and how it is set up. NVIDIA's runtime in it is another layer."""

from __future__ import annotations

import json

from probes.doctor.subject import Subject, fail, ok, skipped, warn
from probes.nvidia import Layer
from probes.nvidia.layer import NOT_FOUND

_LEAST = (20, 10)
_USERS = ("minikube", "docker")


def docker(subject: Subject) -> Layer:
    """A daemon of this machine that answers to this user."""
    said, found = subject.docker_said, subject.docker
    needed = subject.driver in _USERS
    if said.code == NOT_FOUND:
        if not needed:
            return skipped("docker", "not installed, and not needed")
        cause = f"driver {subject.driver} runs on Docker"
        return fail("docker", "docker: not found", cause, "https://docs.docker.com/engine/install says how")
    if found is None:
        return _silent(subject, _error(said.output), needed=needed)
    version = ".".join(map(str, found.version))
    evidence = f"Docker {version}, {found.system}, {found.root}, cgroups by {found.cgroup_driver}"
    if found.version < _LEAST:
        return fail("docker", evidence, f"Docker {version} is too old", "install Docker 20.10 or newer")
    if "/snap/" in found.root or "/var/snap" in found.root:
        cause = "Docker from a snap sees only a part of the file tree: neither the model cache nor the NVIDIA runtime"
        return fail("docker", evidence, cause, "sudo snap remove docker; then install docker-ce or docker.io")
    if found.rootless and needed:
        cause = "a rootless daemon cannot give a container the whole machine, which minikube's node needs"
        return warn("docker", evidence, cause, "docker context use default takes the daemon of the system")
    return ok("docker", evidence)


def _error(said: str) -> str:
    """What `docker info` says where no daemon answers: ServerErrors of its JSON, or, as Docker 28 has it, a sentence on
    standard error beside that.
    """
    begin, end = said.find("{"), said.rfind("}") + 1
    if begin < 0 or end <= begin:
        return said or "no answer"
    try:
        errors = json.loads(said[begin:end]).get("ServerErrors") or []
    except ValueError:
        return said
    beside = f"{said[:begin]} {said[end:]}".strip()
    return "; ".join(map(str, errors)) or beside or "no answer"


def _silent(subject: Subject, said: str, *, needed: bool) -> Layer:
    layer = fail if needed else warn
    if "permission denied" in said.lower():
        cause = "this user may not talk to the Docker daemon"
        return layer("docker", said, cause, "sudo usermod -aG docker $USER; then log in again, or: newgrp docker")
    cause = "the Docker daemon does not run"
    if subject.wsl or not subject.machine.exists("/run/systemd/system"):
        start = "sudo service docker start"
        return layer("docker", said, cause, f"start Docker Desktop in Windows, or: {start}" if subject.wsl else start)
    return layer("docker", said, cause, "sudo systemctl start docker", "docker-stopped")
