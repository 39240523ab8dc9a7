"""One engine start, predicted."""

from __future__ import annotations

from stacks.planning.fit.run import EngineRun, Prediction


def predict(run: EngineRun) -> Prediction:
    """What vLLM will do with this run. Never raises for a run that could be built."""
    raise NotImplementedError


def kv_needed_gib(run: EngineRun, *, max_model_len: int, requests: int = 1) -> float:
    """GiB of KV cache that `requests` requests of `max_model_len` tokens hold at once: what --kv-cache-memory-bytes should say."""
    raise NotImplementedError


def largest_len(run: EngineRun, *, kv_gib: float) -> int:
    """The longest max_model_len that a pool of `kv_gib` GiB holds (0: none), not capped by what the model was trained for."""
    raise NotImplementedError


def outside_gib(run: EngineRun) -> float:
    """GiB on the card beside the budget once the engine serves: CUDA context, NCCL, real CUDA graphs where they are not in the budget."""
    raise NotImplementedError
