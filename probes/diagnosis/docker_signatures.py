"""Sentences of the Docker engine when a container cannot be started or has ended; NVIDIA's are in another table."""

from __future__ import annotations

from probes.diagnosis.signature import Signature, signature

DOCKER: tuple[Signature, ...] = (
    signature(
        "oom-killed", r"OOMKilled", "the container took more memory than its limit",
        "let the limit be derived: remove pin.memoryLimitGiB", "docker container inspect: State.OOMKilled",
    ),
    signature(
        "port-taken", r"Bind for (?P<address>\S+) failed: port is already allocated|listen tcp4? (?P<other>\S+): bind: "
                      r"address already in use",
        "another container or program has the endpoint's port",
        "see who: sudo ss -ltnp; or give the model another port in Pulumi.{stack}.yaml", "libnetwork portallocator",
    ),
    signature(
        "no-model-cache", r"bind source path does not exist: (?P<path>\S+)",
        "the model cache {path} is not there",
        "./lab up {stack} makes it; with Docker Desktop, share that folder in its settings", "moby volume/mounts",
    ),
    signature(
        "not-shared", r"[Mm]ounts denied|is not shared from the host",
        "Docker Desktop does not share the folder of the model cache",
        "share it: Docker Desktop, Settings, Resources, File sharing", "Docker Desktop",
    ),
    signature(
        "disk-full", r"no space left on device",
        "the disk is full", "free some: docker system df shows what Docker holds; then ./lab up {stack}", "errno 28",
    ),
    signature(
        "exec-format", r"exec format error",
        "the image is made for another processor", "use an image for this machine", "errno 8",
    ),
)  # fmt: skip
"""What Docker answers and records."""
