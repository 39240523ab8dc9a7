"""What vLLM is told, typed, and the one place where it becomes arguments."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Literal

from pydantic import Field

from stacks import names
from stacks.plan.base import Part
from stacks.plan.engine import EngineSettings


class SpeculativePlan(Part):
    """vLLM's --speculative-config. `folder` is where the second model's weights lie in the cache; None: it has none."""

    method: Literal["ngram", "mtp", "eagle3", "draft_model"]
    num_speculative_tokens: int
    folder: str | None = None

    def config(self) -> str:
        """The option's JSON value."""
        value: dict[str, str | int] = {"method": self.method, "num_speculative_tokens": self.num_speculative_tokens}
        if self.folder is not None:
            value["model"] = f"{names.MODELS_MOUNT}/{self.folder}"
        return json.dumps(value, separators=(",", ":"))


class LoraModulePlan(Part):
    """One name=path of vLLM's --lora-modules. `folder` is where the adapter lies in the cache."""

    name: str
    folder: str


class VllmPlan(EngineSettings):
    """The settings of one vLLM engine, in vLLM's own names."""

    container: ClassVar[str] = "vllm"
    api_key_variable: ClassVar[str] = "VLLM_API_KEY"
    health_path: ClassVar[str] = "/health"

    name: Literal["vllm"] = "vllm"
    dtype: Literal["bfloat16", "float16", "float32"]
    max_num_batched_tokens: int
    gpu_memory_utilization: float | None = Field(
        description="a fraction of the card that must be free at start; None on a CPU, where vLLM has no such budget"
    )
    kv_cache_memory_bytes: int | None = Field(
        default=None, description="None where vLLM works the KV cache out from the utilization"
    )
    kv_cache_dtype: Literal["auto", "fp8", "fp8_e5m2"] = "auto"
    enforce_eager: bool = False
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    max_loras: int = Field(default=0, description="0: LoRA is off")
    max_lora_rank: int = 16
    lora_modules: tuple[LoraModulePlan, ...] = Field(default=(), exclude_if=lambda value: not value)
    images: int | None = Field(default=None, description="the most of one request; None where the model takes none")
    speculative: SpeculativePlan | None = None
    # what only other tasks than generating text have is not in plans without it, whose digests stay what they were
    runner: Literal["generate", "pooling"] = Field(default="generate", exclude_if=lambda value: value == "generate")
    convert: Literal["embed", "classify"] | None = Field(default=None, exclude_if=lambda value: value is None)
    hf_overrides: dict[str, Any] | None = Field(default=None, exclude_if=lambda value: value is None)
    chat_template: str | None = Field(
        default=None, exclude_if=lambda value: value is None, description="a file beside the weights"
    )

    def arguments(
        self, *, model: str, served_model_names: tuple[str, ...], port: int, shutdown_timeout: int
    ) -> tuple[str, ...]:
        """Arguments after the image's `vllm serve` entrypoint: `model` is a folder of the container, the first name is
        the one that answers carry, the timeout is in seconds.
        """
        values: dict[str, str | bool | tuple[str, ...]] = {
            "--served-model-name": served_model_names,
            "--host": "0.0.0.0",  # noqa: S104  (inside the pod's own network namespace)
            "--port": str(port),
            "--dtype": self.dtype,
            "--max-model-len": str(self.max_model_len),
            "--max-num-seqs": str(self.max_num_seqs),
            "--max-num-batched-tokens": str(self.max_num_batched_tokens),
            "--shutdown-timeout": str(shutdown_timeout),
        }
        if self.gpu_memory_utilization is not None:
            values["--gpu-memory-utilization"] = f"{self.gpu_memory_utilization:.2f}"
        if self.kv_cache_memory_bytes is not None:
            values["--kv-cache-memory-bytes"] = str(self.kv_cache_memory_bytes)
        if self.kv_cache_dtype != "auto":
            values["--kv-cache-dtype"] = self.kv_cache_dtype
        if self.tensor_parallel_size > 1:
            values["--tensor-parallel-size"] = str(self.tensor_parallel_size)
        if self.images is not None:
            values["--limit-mm-per-prompt"] = json.dumps({"image": self.images}, separators=(",", ":"))
        if self.max_loras:
            values |= {"--enable-lora": True, "--max-loras": str(self.max_loras)}
            values["--max-lora-rank"] = str(self.max_lora_rank)
            values["--lora-modules"] = tuple(f"{m.name}={names.MODELS_MOUNT}/{m.folder}" for m in self.lora_modules)
        if self.speculative is not None:
            values["--speculative-config"] = self.speculative.config()
        values |= self._of_the_task(model)
        values |= {"--enforce-eager": self.enforce_eager, "--trust-remote-code": self.trust_remote_code}
        told: list[str] = []
        for flag, value in values.items():
            if value:
                words = value if isinstance(value, tuple) else () if value is True else (str(value),)
                told += [flag, *words]
        return (model, *told)  # `vllm serve` takes the model by position; its --model is to go

    def _of_the_task(self, model: str) -> dict[str, str]:
        """What only a model for another task than writing text is told."""
        told: dict[str, str | None] = {}
        told |= {"--runner": self.runner if self.runner != "generate" else None, "--convert": self.convert}
        if self.hf_overrides is not None:
            told["--hf-overrides"] = json.dumps(self.hf_overrides, separators=(",", ":"))
        if self.chat_template is not None:
            told["--chat-template"] = f"{model}/{self.chat_template}"
        return {flag: value for flag, value in told.items() if value is not None}
