"""The plan's values as `vllm serve` arguments: total and pure, so that what the pod runs is what the tests read."""

from __future__ import annotations

from stacks import names
from stacks.catalog import Catalog


def vllm_args(
    *,
    name: str,
    directory: str,
    dtype: str,
    max_model_len: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    drain_seconds: int,
    gpu_memory_utilization: float | None,
    enforce_eager: bool,
) -> tuple[str, ...]:
    """Arguments after the image's `vllm serve` entrypoint. `gpu_memory_utilization` is None on a CPU, where vLLM has no such budget."""
    args = [
        f"{names.MODELS_MOUNT}/{directory}",  # `vllm serve` takes the model by position; its --model is to go
        *("--served-model-name", name),
        *("--host", "0.0.0.0"),  # noqa: S104  (inside the pod's own network namespace)
        *("--port", str(names.HTTP_PORT)),
        *("--dtype", dtype),
        *("--max-model-len", str(max_model_len)),
        *("--max-num-seqs", str(max_num_seqs)),
        *("--max-num-batched-tokens", str(max_num_batched_tokens)),
        *("--shutdown-timeout", str(drain_seconds)),
    ]
    if gpu_memory_utilization is not None:
        args += ["--gpu-memory-utilization", f"{gpu_memory_utilization:.2f}"]
    if enforce_eager:
        args.append("--enforce-eager")
    return tuple(args)


def unknown_flags(args: tuple[str, ...], engine_version: str, catalog: Catalog) -> list[str]:
    """Options that the catalogue does not list for this engine version."""
    have = _version(engine_version)
    return [a for a in args if a.startswith("--") and (a not in catalog.flags or _version(catalog.flags[a].since) > have)]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
