"""The plan's values as `vllm serve` arguments: total and pure, so that what the pod runs is what the tests read."""

from __future__ import annotations

from stacks import names
from stacks.catalog import Catalog
from stacks.catalog.versions import parse
from stacks.planning.draft import EngineChoice


def vllm_args(*, name: str, directory: str, choice: EngineChoice, drain_seconds: int) -> tuple[str, ...]:
    """Arguments after the image's `vllm serve` entrypoint. The utilization is None on a CPU, where vLLM has no such
    budget.

    With --kv-cache-memory-bytes the utilization is only what vLLM checks at start: so much must be free on the card.
    """
    args = [
        f"{names.MODELS_MOUNT}/{directory}",  # `vllm serve` takes the model by position; its --model is to go
        *("--served-model-name", name),
        *("--host", "0.0.0.0"),  # noqa: S104  (inside the pod's own network namespace)
        *("--port", str(names.HTTP_PORT)),
        *("--dtype", choice.dtype),
        *("--max-model-len", str(choice.max_model_len)),
        *("--max-num-seqs", str(choice.max_num_seqs)),
        *("--max-num-batched-tokens", str(choice.max_num_batched_tokens)),
        *("--shutdown-timeout", str(drain_seconds)),
    ]
    if choice.utilization is not None:
        args += ["--gpu-memory-utilization", f"{choice.utilization:.2f}"]
    if choice.kv_bytes is not None:
        args += ["--kv-cache-memory-bytes", str(choice.kv_bytes)]
    if choice.kv_dtype != "auto":
        args += ["--kv-cache-dtype", choice.kv_dtype]
    if choice.enforce_eager:
        args.append("--enforce-eager")
    if choice.trust_remote_code:
        args.append("--trust-remote-code")
    return tuple(args)


def unknown_flags(args: tuple[str, ...], engine_version: str, catalog: Catalog) -> list[str]:
    """Options that the catalogue does not list for this engine version."""
    have, flags = parse(engine_version), catalog.flags
    return [a for a in args if a.startswith("--") and (a not in flags or parse(flags[a].since) > have)]
