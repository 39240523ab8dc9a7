"""What may be stated of the rest of the stack: the model cache and the hardening."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from stacks.settings.base import HostPath, Intent
from stacks.settings.problems import Fault


class ModelCache(Intent):
    """Where weights are kept on the machine; survives the cluster."""

    path: HostPath = Field(
        default="/var/lib/local-ai-lab/models", description="A folder of the machine; ~ is the user's home."
    )

    @field_validator("path")
    @classmethod
    def _path_is_plain(cls, value: str) -> str:
        parts = value.split("/")
        if ".." in parts or "." in parts or "" in parts[1:]:
            raise Fault(
                ("", f"{value} holds '..', '.' or an empty part", "write it out in full, such as path: ~/models")
            )
        if re.match(
            r"^/(etc|usr|bin|sbin|lib|lib64|boot|proc|sys|dev|run"
            r"|var/lib/rancher|var/lib/kubelet|var/lib/docker|mnt/[a-z])(/|$)",
            value,
        ):
            message = f"{value} lies where the system, a cluster or Windows keeps its own files"
            raise Fault(("", message, "write another, such as path: ~/models"))
        return value


class Security(Intent):
    """Hardening that an environment may force down; every step down becomes a recorded Decision."""

    read_only_root_filesystem: bool = Field(
        default=True,
        description="false only where the NVIDIA container toolkit's CDI hook fails on a read-only root filesystem.",
    )
