"""What a stack file may say: the owner's intent for one machine, and no derived number.

`Settings.from_config` is the one way in. It takes the map that Pulumi hands a program (names without the project prefix) and either
returns frozen settings or raises one `SettingsError` that lists everything that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from stacks import names
from stacks.errors import SettingsError
from stacks.settings_problems import problems_from

PROJECT = "local-ai-lab"

# Read with `require_secret` where they are used and never through Settings, so that no model can print them.
SECRET_KEYS = {
    "apiKey": "the bearer token that clients of the endpoint must send",
    "huggingFaceToken": "a read token for gated models",
}

_RESERVED_ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": "it takes every GPU behind the scheduler's back; the device plugin sets it",
    "VLLM_API_KEY": "a key in a stack file is a key in git; type: pulumi config set --secret apiKey",
    "HF_TOKEN": "a token in a stack file is a token in git; type: pulumi config set --secret huggingFaceToken",
    "HUGGING_FACE_HUB_TOKEN": "a token in a stack file is a token in git; type: pulumi config set --secret huggingFaceToken",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "it lets any client load weights",
    "VLLM_SERVER_DEV_MODE": "it opens administrative endpoints without a key",
}
_SECRET_WORDS = re.compile(r"(TOKEN|PASSWORD|SECRET|API_?KEY|CREDENTIAL)", re.IGNORECASE)

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=40)]
"""A lower-case DNS label of at most 40 characters, so that every Kubernetes name made from it stays under 63."""

CatalogId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", max_length=80)]
HostPath = Annotated[str, StringConstraints(pattern=r"^(~|)/[A-Za-z0-9._/-]+$", max_length=200)]


class Intent(BaseModel):
    """The base of everything in a stack file: camelCase names, frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NvidiaMachine(Intent):
    """A machine with NVIDIA GPUs of one kind."""

    kind: Literal["nvidia"] = Field(description="A machine with NVIDIA GPUs.")
    gpu: CatalogId = Field(description="The card, as `lab gpus` and the catalogue name it, such as rtx-2060-super.")
    gpus: int = Field(default=1, ge=1, le=16, description="How many such cards the machine has.")
    platform: Literal["linux", "wsl2"] = Field(default="linux", description="Linux on the metal, or WSL2 under Windows.")
    display: bool = Field(default=False, description="true when a desktop draws on the card; WSL2 always counts as one.")
    nvidia_driver: str | None = Field(
        default=None, pattern=r"^\d{3}(\.\d{1,3}){0,2}$", description="The installed driver, as nvidia-smi prints it, such as 581.29."
    )
    memory_gib: int = Field(alias="memoryGiB", ge=1, le=4096, description="RAM of the machine in GiB (Windows' own total under WSL2).")
    wsl_memory_gib: int | None = Field(
        default=None, alias="wslMemoryGiB", ge=1, le=4096, description="RAM that .wslconfig gives WSL2, in GiB; WSL2's own default is half."
    )
    cpus: int = Field(ge=1, le=1024, description="Logical processors that Linux sees.")
    disk_free_gib: int | None = Field(
        default=None, alias="diskFreeGiB", ge=1, le=1_000_000, description="Free disk in GiB where images and models go."
    )

    @model_validator(mode="after")
    def _wsl_memory_needs_wsl2(self) -> NvidiaMachine:
        if self.wsl_memory_gib is not None and self.platform != "wsl2":
            raise ValueError("wslMemoryGiB says what .wslconfig gives WSL2, and platform is linux; remove it, or write platform: wsl2")
        if self.wsl_memory_gib is not None and self.wsl_memory_gib > self.memory_gib:
            raise ValueError(f"wslMemoryGiB is {self.wsl_memory_gib}, more than the machine's memoryGiB {self.memory_gib}; lower it")
        return self


class CpuMachine(Intent):
    """A machine whose processors run the model: for trials and CI, not for speed."""

    kind: Literal["cpu"] = Field(description="A machine without a GPU.")
    platform: Literal["linux"] = Field(default="linux", description="Linux on the metal or in a virtual machine.")
    memory_gib: int = Field(alias="memoryGiB", ge=1, le=4096, description="RAM of the machine in GiB.")
    cpus: int = Field(ge=1, le=1024, description="Logical processors that Linux sees.")
    disk_free_gib: int | None = Field(
        default=None, alias="diskFreeGiB", ge=1, le=1_000_000, description="Free disk in GiB where images and models go."
    )


class EmbeddedCluster(Intent):
    """Upstream Kubernetes that the lab builds and runs itself in a network namespace of its own."""

    driver: Literal["embedded"] = Field(description="Upstream Kubernetes from Go modules; Debian-like Linux with root or sudo.")
    slot: int = Field(default=0, ge=0, le=63, description="Which private address block the cluster uses; clusters side by side need different ones.")


class MinikubeCluster(Intent):
    """A minikube profile on the Docker driver."""

    driver: Literal["minikube"] = Field(description="minikube with its Docker driver.")
    profile: DnsLabel = Field(default="local-ai-lab", description="The minikube profile; an existing one that we did not make is never touched.")


class Pins(Intent):
    """Values that the owner insists on; the planner checks them instead of deriving them."""

    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1, description="vLLM's --gpu-memory-utilization, a fraction of the card.")
    memory_limit_gib: int | None = Field(default=None, alias="memoryLimitGiB", ge=1, le=4096, description="The pod's memory limit in GiB.")


class VllmModel(Intent):
    """One model served by vLLM: what is wished of it."""

    name: DnsLabel = Field(description="The name of the deployment and the `model` that clients send.")
    engine: Literal["vllm"] = Field(default="vllm", description="The serving engine.")
    model: CatalogId = Field(description="The model, as the catalogue names it, such as phi-3-mini-4k-instruct-awq.")
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$", description="The commit of the model repository; default: the catalogue's.")
    context_tokens: int = Field(ge=16, le=16_777_216, description="The longest prompt plus answer that one request may have.")
    concurrent_requests: int = Field(default=8, ge=1, le=4096, description="How many requests are worked on at once (vLLM's --max-num-seqs).")
    replicas: int = Field(default=1, ge=1, le=64, description="How many engines serve this model.")
    port: int = Field(default=30080, ge=30080, le=30095, description="The endpoint's port on the machine; each model needs its own.")
    environment: dict[str, str] = Field(default_factory=dict, description="Extra environment of the engine; nothing secret.")
    pin: Pins = Field(default_factory=Pins, description="Values to be taken as they are; the plan still proves them.")

    @field_validator("name")
    @classmethod
    def _name_is_not_vllm(cls, value: str) -> str:
        if value == "vllm":
            raise ValueError("a Service named vllm makes Kubernetes inject VLLM_PORT, which breaks vLLM; choose another name")
        return value

    @field_validator("environment")
    @classmethod
    def _environment_is_harmless(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", key):
                raise ValueError(f"{key!r} is not an environment name; use capitals, digits and underscores")
            if reason := _RESERVED_ENVIRONMENT.get(key):
                raise ValueError(f"{key} cannot be set here: {reason}")
            if _SECRET_WORDS.search(key):
                raise ValueError(f"{key} looks like a secret, and a stack file is no place for one; see docs/operations.md, Secrets")
            if len(text) > 4096:
                raise ValueError(f"{key} is {len(text)} characters long; at most 4096")
        return value


class ModelCache(Intent):
    """Where weights are kept on the machine; survives the cluster."""

    path: HostPath = Field(default="/var/lib/local-ai-lab/models", description="A folder of the machine; ~ is the user's home.")

    @field_validator("path")
    @classmethod
    def _path_is_plain(cls, value: str) -> str:
        parts = value.split("/")
        if ".." in parts or "." in parts or "" in parts[1:]:
            raise ValueError("the path may hold no '..', '.' or empty part; write it out in full")
        if re.match(r"^/(etc|usr|bin|sbin|lib|lib64|boot|proc|sys|dev|run|var/lib/rancher|var/lib/kubelet|var/lib/docker|mnt/[a-z])(/|$)", value):
            raise ValueError("the path lies where the system, a cluster or Windows keeps its own files; choose another, such as ~/models")
        return value


class Security(Intent):
    """Hardening that an environment may force down; every step down becomes a recorded Decision."""

    read_only_root_filesystem: bool = Field(
        default=True, description="false only where the NVIDIA container toolkit's CDI hook fails on a read-only root filesystem."
    )


class Settings(Intent):
    """One stack file."""

    machine: Annotated[NvidiaMachine | CpuMachine, Field(discriminator="kind", description="The machine itself: facts, not wishes.")]
    cluster: Annotated[EmbeddedCluster | MinikubeCluster, Field(discriminator="driver", description="Which Kubernetes carries the stack.")]
    models: tuple[VllmModel, ...] = Field(min_length=1, max_length=256, description="What is to be served.")
    model_cache: ModelCache = Field(default_factory=ModelCache, description="Where weights are kept.")
    security: Security = Field(default_factory=Security, description="Hardening that may be lowered, visibly.")
    host_changes: Literal["ask", "allow"] = Field(default="ask", description="allow: `lab up` does not ask before it changes the machine.")

    @model_validator(mode="after")
    def _models_do_not_collide(self) -> Settings:
        for attribute, what in (("name", "name"), ("port", "port")):
            seen: dict[object, int] = {}
            for index, model in enumerate(self.models):
                value = getattr(model, attribute)
                if value in seen:
                    hint = f"port: {names.free_port({m.port for m in self.models})}" if what == "port" else "another name"
                    raise ValueError(f"models[{index}].{what} is {value}, which models[{seen[value]}] already has; give it {hint}")
                seen[value] = index
        return self

    @model_validator(mode="after")
    def _driver_suits_machine(self) -> Settings:
        if isinstance(self.cluster, EmbeddedCluster) and isinstance(self.machine, NvidiaMachine):
            raise ValueError("cluster.driver embedded runs no GPU workload; write driver: minikube, or machine.kind: cpu")
        if isinstance(self.cluster, MinikubeCluster) and isinstance(self.machine, CpuMachine):
            raise ValueError("cluster.driver minikube is for machines with an NVIDIA GPU here; write driver: embedded, or machine.kind: nvidia")
        return self

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, file: str = "the stack configuration", secret_keys: frozenset[str] = frozenset()) -> Settings:
        """Settings from the configuration map of one stack; keys have no project prefix.

        `secret_keys` are the keys that Pulumi decrypted. Raises SettingsError with every problem found.
        """
        wished = {key: value for key, value in config.items() if key not in SECRET_KEYS}
        misplaced = sorted((secret_keys & set(config)) - set(SECRET_KEYS))
        bare = sorted(key for key in SECRET_KEYS if key in config and key not in secret_keys)
        try:
            # Strict JSON mode: lists become tuples, and nothing else is converted.
            settings = cls.model_validate_json(json.dumps(wished, allow_nan=True))
        except ValidationError as error:
            problems = problems_from(error, cls, file=file, project=PROJECT, misplaced=misplaced, bare=bare)
            raise SettingsError(problems) from None
        if misplaced or bare:
            raise SettingsError(problems_from(None, cls, file=file, project=PROJECT, misplaced=misplaced, bare=bare))
        return settings
