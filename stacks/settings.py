"""What a stack file may say: the owner's intent for one machine, and no derived number.

`Settings.from_config` is the one way in. It takes the map that Pulumi hands a program (names without the project
prefix) and either returns frozen settings or raises one `SettingsError` that lists everything that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from stacks import names
from stacks.errors import Problem, SettingsError, shown
from stacks.settings_problems import Fault, problems_from

PROJECT = "local-ai-lab"

# Read with `require_secret` where they are used and never through Settings, so that no model can print them.
SECRET_KEYS = {
    "apiKey": "the bearer token that clients of the endpoint must send",
    "huggingFaceToken": "a read token for gated models",
}

_SET_KEY, _SET_TOKEN = (
    "remove the line and type: pulumi config set --secret " + key for key in ("apiKey", "huggingFaceToken")
)
_RESERVED_ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": (
        "it takes every GPU behind the scheduler's back, and the device plugin sets it",
        "remove the line; machine.gpus says how many there are",
    ),
    "VLLM_API_KEY": ("a key in a stack file is a key in git", _SET_KEY),
    "HF_TOKEN": ("a token in a stack file is a token in git", _SET_TOKEN),
    "HUGGING_FACE_HUB_TOKEN": ("a token in a stack file is a token in git", _SET_TOKEN),
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": ("it lets any client load weights", "remove the line"),
    "VLLM_SERVER_DEV_MODE": ("it opens administrative endpoints without a key", "remove the line"),
}
_LONGEST_ENVIRONMENT = 4096
_DEFAULT_PORT = 30080
_DISK_TOTAL = "Size in GiB of that disk; a kubelet evicts pods when too small a part of it is free."
_MOST_MODELS = len(names.ENDPOINT_PORTS)  # each needs a port of its own
_SECRET_WORDS = re.compile(
    r"(^|_)(TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRETS?|(API|ACCESS|PRIVATE|AUTH)_?KEY|CREDENTIALS?|AUTHORIZATION)(_|$)"
)
_SECRET_TEXT = re.compile(r"://[^/@\s]*:[^/@\s]*@|\b(sk-|hf_|ghp_|glpat-|xox[abp]-|AKIA)[A-Za-z0-9_-]{4,}|-----BEGIN ")
# What the plan sets and checks, or what would make its check worthless.
_PLANNED_ENVIRONMENT = re.compile(
    r"(HOME|USER|PATH|TMPDIR|(LD|NVIDIA|CUDA|PYTHON|HF|TRANSFORMERS|HUGGING_FACE)_\w+|PYTHON\w*|DO_NOT_TRACK"
    r"|VLLM_(CPU_\w+|NO_USAGE_STATS|WSL2_\w+|PORT|HOST_IP|USE_V2_MODEL_RUNNER|MEMORY_PROFILER_\w+)|PYTORCH_(CUDA_)?ALLOC_CONF)"
)


def _text(pattern: str, form: str, *, max_length: int | None = None) -> Any:
    """A text of one form; `form` ends the sentence «another ...» in our own messages and in editors."""
    said = form if max_length is None else f"{form}, at most {max_length} characters"
    return Field(pattern=pattern, max_length=max_length, json_schema_extra={"patternErrorMessage": said})


DnsLabel = Annotated[
    str,
    _text(
        r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        "name of lower-case letters, digits and hyphens, a letter first and no hyphen last",
        max_length=40,
    ),
]
"""A lower-case DNS label of at most 40 characters, so that every Kubernetes name made from it stays under 63."""

CatalogId = Annotated[str, _text(r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", "name from the catalogue", max_length=80)]
HostPath = Annotated[
    str,
    _text(
        r"^(~|)/[A-Za-z0-9._/-]+$",
        "path that begins with / or ~/ and has letters, digits and . _ - only",
        max_length=200,
    ),
]


class Intent(BaseModel):
    """The base of everything in a stack file: camelCase names, frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


class NvidiaMachine(Intent):
    """A machine with NVIDIA GPUs of one kind."""

    kind: Literal["nvidia"] = Field(description="A machine with NVIDIA GPUs.")
    gpu: CatalogId = Field(
        examples=["rtx-2060-super"], description="The card, as the catalogue names it, such as rtx-2060-super."
    )
    gpus: int = Field(default=1, ge=1, le=16, description="How many such cards the machine has.")
    platform: Literal["linux", "wsl2"] = Field(
        default="linux", description="Linux on the metal, or WSL2 under Windows."
    )
    display: bool = Field(
        default=False, description="true when a desktop draws on the card; WSL2 always counts as one."
    )
    nvidia_driver: (
        Annotated[str, _text(r"^[0-9]{3}(\.[0-9]{1,3}){0,2}$", "version in quotes, as nvidia-smi prints it")] | None
    ) = Field(
        default=None, examples=["581.29"], description="The installed driver, as nvidia-smi prints it, such as 581.29."
    )
    memory_gib: int = Field(
        alias="memoryGiB",
        ge=1,
        le=4096,
        examples=[16],
        description="RAM of the machine in GiB (Windows' own total under WSL2).",
    )
    wsl_memory_gib: int | None = Field(
        default=None,
        alias="wslMemoryGiB",
        ge=1,
        le=4096,
        examples=[8],
        description="RAM that .wslconfig gives WSL2, in GiB; WSL2's own default is half.",
    )
    cpus: int = Field(ge=1, le=1024, examples=[8], description="Logical processors that Linux sees.")
    disk_free_gib: int | None = Field(
        default=None,
        alias="diskFreeGiB",
        ge=1,
        le=1_000_000,
        examples=[100],
        description="Free disk in GiB where images and models go.",
    )
    disk_total_gib: int | None = Field(
        default=None, alias="diskTotalGiB", ge=1, le=1_000_000, examples=[500], description=_DISK_TOTAL
    )
    shared_card: bool = Field(
        default=False, description="true: several engines may share one card's memory and compute."
    )

    @model_validator(mode="after")
    def _wsl_memory_needs_wsl2(self) -> NvidiaMachine:
        if self.wsl_memory_gib is not None and self.platform != "wsl2":
            raise Fault(
                (
                    ".wslMemoryGiB",
                    "says what .wslconfig gives WSL2, and platform is linux",
                    "remove it, or write platform: wsl2",
                )
            )
        if self.wsl_memory_gib is not None and self.wsl_memory_gib > self.memory_gib:
            message = f"{self.wsl_memory_gib} is more than the machine has: memoryGiB is {self.memory_gib}"
            raise Fault((".wslMemoryGiB", message, "lower it to what .wslconfig says"))
        if self.platform == "wsl2" and self.gpus > 1:
            message = "under WSL2 the device plugin offers all cards as one device, so that only one engine would ever get any"
            raise Fault((".gpus", message, "write gpus: 1, or platform: linux"))
        return self

    @model_validator(mode="after")
    def _free_disk_is_part_of_it(self) -> NvidiaMachine:
        _check_disk(self.disk_free_gib, self.disk_total_gib)
        return self


class CpuMachine(Intent):
    """A machine whose processors run the model: for trials and CI, not for speed."""

    kind: Literal["cpu"] = Field(description="A machine without a GPU.")
    platform: Literal["linux"] = Field(default="linux", description="Linux on the metal or in a virtual machine.")
    memory_gib: int = Field(alias="memoryGiB", ge=1, le=4096, examples=[16], description="RAM of the machine in GiB.")
    cpus: int = Field(ge=1, le=1024, examples=[8], description="Logical processors that Linux sees.")
    disk_free_gib: int | None = Field(
        default=None,
        alias="diskFreeGiB",
        ge=1,
        le=1_000_000,
        examples=[100],
        description="Free disk in GiB where images and models go.",
    )
    disk_total_gib: int | None = Field(
        default=None, alias="diskTotalGiB", ge=1, le=1_000_000, examples=[500], description=_DISK_TOTAL
    )

    @model_validator(mode="after")
    def _free_disk_is_part_of_it(self) -> CpuMachine:
        _check_disk(self.disk_free_gib, self.disk_total_gib)
        return self


def _check_disk(free: int | None, total: int | None) -> None:
    if free is not None and total is not None and free > total:
        raise Fault(
            (".diskFreeGiB", f"{free} is more than the disk has: diskTotalGiB is {total}", "write what `df -h` says")
        )


class EmbeddedCluster(Intent):
    """Upstream Kubernetes that the lab builds and runs itself in a network namespace of its own."""

    driver: Literal["embedded"] = Field(
        description="Upstream Kubernetes from Go modules; Debian-like Linux with root or sudo."
    )
    slot: int = Field(
        default=0,
        ge=0,
        le=63,
        description="Which private address block the cluster uses; clusters side by side need different ones.",
    )


class MinikubeCluster(Intent):
    """A minikube profile on the Docker driver."""

    driver: Literal["minikube"] = Field(description="minikube with its Docker driver.")
    profile: DnsLabel = Field(
        default="local-ai-lab",
        description="The minikube profile; an existing one that we did not make is never touched.",
    )


class Pins(Intent):
    """Values that the owner insists on; the planner checks them instead of deriving them."""

    gpu_memory_utilization: float | None = Field(
        default=None,
        gt=0,
        le=1,
        examples=[0.85],
        description="vLLM's --gpu-memory-utilization, a fraction of the card.",
    )
    memory_limit_gib: int | None = Field(
        default=None, alias="memoryLimitGiB", ge=1, le=4096, examples=[8], description="The pod's memory limit in GiB."
    )
    enforce_eager: bool | None = Field(
        default=None,
        description="vLLM's --enforce-eager: true saves the memory of CUDA graphs and answers more slowly.",
    )


class VllmModel(Intent):
    """One model served by vLLM: what is wished of it."""

    name: DnsLabel = Field(
        examples=["phi-3-mini"], description="The name of the deployment and the `model` that clients send."
    )
    engine: Literal["vllm"] = Field(default="vllm", description="The serving engine.")
    model: CatalogId = Field(
        examples=["phi-3-mini-4k-instruct-awq"],
        description="The model, as the catalogue names it, such as phi-3-mini-4k-instruct-awq.",
    )
    revision: Annotated[str, _text(r"^[0-9a-f]{40}$", "commit in quotes: 40 digits and letters a to f")] | None = Field(
        default=None, description="The commit of the model repository; default: the catalogue's."
    )
    context_tokens: int = Field(
        ge=16, le=16_777_216, examples=[4096], description="The longest prompt plus answer that one request may have."
    )
    concurrent_requests: int = Field(
        default=8, ge=1, le=4096, description="How many requests are worked on at once (vLLM's --max-num-seqs)."
    )
    replicas: int = Field(default=1, ge=1, le=64, description="How many engines serve this model.")
    priority: int = Field(
        default=1,
        ge=1,
        le=100,
        description="This model's weight where engines share what is left of a card; 2 gets twice what 1 gets.",
    )
    kv_cache_dtype: Literal["auto", "fp8", "fp8_e5m2"] = Field(
        default="auto", description="auto keeps the model's own; fp8 halves the KV cache and costs a little accuracy."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="true lets the model's repository run its own code in the engine; needs a pinned revision.",
    )
    port: int = Field(
        default=_DEFAULT_PORT,
        ge=30080,
        le=30095,
        description="The endpoint's port on the machine; each model needs its own.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Extra environment of the engine; nothing secret."
    )
    pin: Pins = Field(default_factory=Pins, description="Values to be taken as they are; the plan still proves them.")

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, value: str) -> str:
        if reason := names.reserved_model_name(value):
            raise Fault(("", reason, "write another name, such as name: phi-3-mini"))
        return value

    @field_validator("environment")
    @classmethod
    def _environment_is_harmless(cls, value: dict[str, str]) -> dict[str, str]:
        if found := [
            (f".{shown(key)}", *words) for key, text in value.items() if (words := _refused_environment(key, text))
        ]:
            raise Fault(*found)
        return value


def _refused_environment(key: str, text: str) -> tuple[str, str] | None:
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", key):
        return "is no environment name", "use capitals, digits and underscores, such as VLLM_LOGGING_LEVEL"
    if reason := _RESERVED_ENVIRONMENT.get(key):
        return f"cannot be set here: {reason[0]}", reason[1]
    if _PLANNED_ENVIRONMENT.fullmatch(key):
        return "is set or checked by the plan", "remove the line; lab plan shows what the plan sets"
    if _SECRET_WORDS.search(key) or _SECRET_TEXT.search(text):
        return (
            "looks like a secret, and a stack file is no place for one",
            "remove the line; the endpoint's own key: pulumi config set --secret apiKey",
        )
    if len(text) > _LONGEST_ENVIRONMENT:
        return f"is {len(text):,} characters long, and at most {_LONGEST_ENVIRONMENT:,} are allowed", "shorten it"
    if not text.isprintable() and not text.replace("\n", "").replace("\t", "").isprintable():
        return "holds a control character", "remove it; an engine's setting needs none"
    return None


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
            r"^/(etc|usr|bin|sbin|lib|lib64|boot|proc|sys|dev|run|var/lib/rancher|var/lib/kubelet|var/lib/docker|mnt/[a-z])(/|$)",
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


class Settings(Intent):
    """One stack file."""

    machine: Annotated[
        NvidiaMachine | CpuMachine, Field(discriminator="kind", description="The machine itself: facts, not wishes.")
    ]
    cluster: Annotated[
        EmbeddedCluster | MinikubeCluster,
        Field(discriminator="driver", description="Which Kubernetes carries the stack."),
    ]
    models: tuple[VllmModel, ...] = Field(min_length=1, max_length=_MOST_MODELS, description="What is to be served.")
    objective: Literal["throughput", "latency", "context", "replicas"] | None = Field(
        default=None,
        description="What the rest of the card is spent on; without it, every wish is taken as it is written.",
    )
    model_cache: ModelCache = Field(default_factory=ModelCache, description="Where weights are kept.")
    security: Security = Field(default_factory=Security, description="Hardening that may be lowered, visibly.")
    host_changes: Literal["ask", "allow"] = Field(
        default="ask", description="allow: `lab up` does not ask before it changes the machine."
    )

    @model_validator(mode="after")
    def _parts_suit_each_other(self) -> Settings:
        found = _collisions([(m.name, m.port) for m in self.models]) + _unsuited(self.machine.kind, self.cluster.driver)
        if found:
            raise Fault(*found)
        return self

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        file: str = "the stack configuration",
        secret_keys: frozenset[str] = frozenset(),
    ) -> Settings:
        """Settings from the configuration map of one stack; keys have no project prefix.

        `secret_keys` are the keys that Pulumi decrypted. Raises SettingsError with every problem found.
        """
        wished = {key: value for key, value in config.items() if key not in SECRET_KEYS}
        misplaced = sorted((secret_keys & set(config)) - set(SECRET_KEYS))
        bare = sorted(key for key in SECRET_KEYS if key in config and key not in secret_keys)
        error, more = None, []
        try:
            # Strict JSON mode: lists become tuples, and nothing else is converted.
            settings = cls.model_validate_json(json.dumps(wished, allow_nan=True), by_alias=True, by_name=False)
        except ValidationError as invalid:
            error = invalid
            # then nobody looked at the whole yet
            if any(detail["loc"] for detail in invalid.errors(include_url=False)):
                more = _problems_of_the_whole(wished, file)
        # such as a number of ten thousand digits, which no file reader lets through
        except (RecursionError, ValueError):
            problem = Problem(
                file,
                "config",
                "is nested too deeply, or holds a number without end",
                "write it as the other stack files are written",
            )
            raise SettingsError([problem]) from None
        if error or misplaced or bare:
            raise SettingsError(
                [*problems_from(error, cls, file=file, project=PROJECT, misplaced=misplaced, bare=bare), *more]
            )
        return settings


def _collisions(models: Sequence[tuple[object, object]]) -> list[tuple[str, str, str]]:
    """Names and ports that several models have; each model is (name, port)."""
    found = []
    taken = {port for _, port in models if isinstance(port, int)}
    for place, key in enumerate(("name", "port")):
        first: dict[object, int] = {}
        for index, model in enumerate(models):
            value = model[place]
            if value in first:
                remedy = "give each model a name of its own"
                if key == "port":
                    free = names.free_port(taken)  # there is one: no more models than ports are allowed
                    remedy = f"write port: {free}"
                    taken.add(free)
                found.append(
                    (
                        f".models[{index}].{key}",
                        f"{shown(str(value))} is what models[{first[value]}] already has",
                        remedy,
                    )
                )
            first.setdefault(value, index)
    return found


def _unsuited(kind: object, driver: object) -> list[tuple[str, str, str]]:
    if (kind, driver) == ("nvidia", "embedded"):
        message, other, instead = "embedded runs no GPU workload", "minikube", "cpu"
    elif (kind, driver) == ("cpu", "minikube"):
        message, other, instead = "minikube is for machines with an NVIDIA GPU here", "embedded", "nvidia"
    else:
        return []
    return [
        (
            ".cluster.driver",
            f"{message}, and machine.kind is {kind}",
            f"write driver: {other}, or in machine kind: {instead}",
        )
    ]


def _problems_of_the_whole(wished: Mapping[str, Any], file: str) -> list[Problem]:
    """The same, where single settings are wrong and no whole could be made: of what can be read."""

    def part(value: object, key: str, default: object = None) -> object:
        found = value.get(key, default) if isinstance(value, Mapping) else None
        return found if isinstance(found, str | int) and not isinstance(found, bool) else None

    models = wished.get("models")
    pairs = (
        [(part(m, "name"), part(m, "port", _DEFAULT_PORT)) for m in models]
        if isinstance(models, list) and len(models) <= _MOST_MODELS
        else []
    )
    seen = [(name if name else object(), port if port else object()) for name, port in pairs]
    found = _collisions(seen) + _unsuited(part(wished.get("machine"), "kind"), part(wished.get("cluster"), "driver"))
    return [Problem(file, f"{PROJECT}:{path.lstrip('.')}", message, remedy) for path, message, remedy in found]
