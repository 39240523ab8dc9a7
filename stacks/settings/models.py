"""What is to be served: one model for each serving engine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from stacks import names
from stacks.errors import shown
from stacks.settings import environment as engine_environment
from stacks.settings.base import CatalogId, DnsLabel, Intent, text_of
from stacks.settings.lora import Lora
from stacks.settings.problems import Fault

DEFAULT_PORT = 30080


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


class Speculative(Intent):
    """Speculative decoding: several tokens are proposed and checked in one step."""

    method: Literal["ngram", "mtp", "eagle3", "draft_model"] = Field(
        description="ngram: from the prompt; mtp: the checkpoint's own heads; eagle3, draft_model: a second model."
    )
    tokens: int = Field(ge=1, le=16, examples=[3], description="How many tokens are proposed a step.")
    model: CatalogId | None = Field(
        default=None, description="The second model, as the catalogue names it; for eagle3 and draft_model."
    )

    @model_validator(mode="after")
    def _a_second_model_where_one_is_used(self) -> Speculative:
        wanted = self.method in ("eagle3", "draft_model")
        if wanted and self.model is None:
            raise Fault((".model", f"is missing, and method {self.method} needs a second model", "add model: NAME"))
        if not wanted and self.model is not None:
            raise Fault((".model", f"has no meaning with method {self.method}", "remove the line"))
        return self


class VllmModel(Intent):
    """One model served by vLLM: what is asked of it."""

    name: DnsLabel = Field(
        examples=["phi-3-mini"], description="The name of the deployment and the `model` that clients send."
    )
    engine: Literal["vllm"] = Field(default="vllm", description="The serving engine.")
    model: CatalogId = Field(
        examples=["phi-3-mini-4k-instruct-awq"],
        description="The model, as the catalogue names it, such as phi-3-mini-4k-instruct-awq.",
    )
    revision: Annotated[str, text_of(r"^[0-9a-f]{40}$", "commit in quotes: 40 digits and letters a to f")] | None = (
        Field(default=None, description="The commit of the model repository; default: the catalogue's.")
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
        default=DEFAULT_PORT,
        ge=30080,
        le=30095,
        description="The endpoint's port on the machine; each model needs its own.",
    )
    max_num_batched_tokens: int | None = Field(
        default=None,
        ge=16,
        le=1_048_576,
        examples=[2048],
        description="Tokens of one step (vLLM's --max-num-batched-tokens); larger steps read prompts faster and take "
        "more memory.",
    )
    tensor_parallel: int | None = Field(
        default=None,
        ge=1,
        le=16,
        examples=[2],
        description="How many cards one engine spans; without it, as few as hold the model.",
    )
    images_per_request: int | None = Field(
        default=None,
        ge=0,
        le=100,
        examples=[0],
        description="The most images of one request (vLLM's --limit-mm-per-prompt); 0 serves text only and saves the "
        "encoder's memory.",
    )
    speculative: Speculative | None = Field(default=None, description="Propose several tokens a step and check them.")
    lora: Lora | None = Field(default=None, description="Serve LoRA adapters, or keep room for them.")
    image: (
        Annotated[
            str,
            text_of(
                r"^[a-z0-9][a-z0-9._/-]*(:[0-9]+/[a-z0-9._/-]+)?:[A-Za-z0-9_][A-Za-z0-9._-]*(@sha256:[0-9a-f]{64})?$",
                "image with a tag, such as registry.local/vllm-audio:v0.31.0",
                max_length=255,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="An image of your own in place of vLLM's: made from that one, of the same version, with packages "
        "that it lacks (sound needs some).",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Extra environment of the engine; nothing secret."
    )
    pin: Pins = Field(default_factory=Pins, description="Values to be taken as they are; the plan still checks them.")

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, value: str) -> str:
        if reason := names.reserved_model_name(value):
            raise Fault(("", reason, "write another name, such as name: phi-3-mini"))
        return value

    @field_validator("image")
    @classmethod
    def _image_stays_the_same(cls, value: str | None) -> str | None:
        if value is not None and value.partition("@")[0].endswith(":latest"):
            raise Fault(("", "is whatever was pushed last", "write the tag of a version, such as :v0.31.0"))
        return value

    @field_validator("environment")
    @classmethod
    def _environment_is_harmless(cls, value: dict[str, str]) -> dict[str, str]:
        if found := [
            (f".{shown(key)}", *words)
            for key, text in value.items()
            if (words := engine_environment.refused(key, text))
        ]:
            raise Fault(*found)
        return value


ModelSettings = VllmModel
"""Every engine that a stack file may name, told apart by `engine`."""
