"""What a vLLM start printed about memory: figures out of its log, as text that any of kubectl, docker or a file gives.

Sentences were read in vLLM 0.32.0 (v1/worker/gpu_worker.py, v1/worker/gpu/model_runner.py, v1/core/kv_cache_utils.py,
v1/worker/cpu_worker.py, model_executor/model_loader/weight_utils.py) and in logs of 0.10.2 to 0.31.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# field -> pattern; the last sentence of a log counts, since a container may have started more than once in it
_SENTENCES: dict[str, re.Pattern[str]] = {
    "weights_gib": re.compile(rf"Model loading took {_NUMBER} Gi?B"),
    "checkpoint_gib": re.compile(rf"Checkpoint size: {_NUMBER} GiB"),
    "kv_cache_gib": re.compile(rf"Available KV cache memory: {_NUMBER} GiB"),
    "given_kv_cache_gib": re.compile(
        rf"(?:reserved {_NUMBER} GiB memory for KV Cache|Explicitly set \({_NUMBER}/[0-9.]+\) GiB for KV cache)"
    ),
    "kv_tokens": re.compile(r"(?:GPU|CPU) KV cache size: ([0-9,]+) tokens"),
    "concurrency": re.compile(rf"Maximum concurrency for [0-9,]+ tokens per request: {_NUMBER}x"),
    "graphs_gib": re.compile(rf"Graph capturing finished in [0-9]+ secs, took {_NUMBER} GiB"),
    "free_gib": re.compile(rf"(?:Initial free memory {_NUMBER} GiB|Free memory on device \({_NUMBER}/[0-9.]+ GiB\))"),
    "total_gib": re.compile(rf"Free memory on device \([0-9.]+/{_NUMBER} GiB\)"),
    "activation_gib": re.compile(rf"{_NUMBER}\s+GiB for peak activation"),
    "non_torch_gib": re.compile(rf"{_NUMBER}\s+GiB for non-torch memory"),
}
_VERSION = re.compile(r"Initializing a V1 LLM engine \(v([0-9][0-9.]*[0-9])")


@dataclass(frozen=True)
class StartFigures:
    """What one start printed; None: it did not. GiB are 2^30 bytes, of one card.

    checkpoint_gib   the files, as the loader saw them.
    kv_cache_gib     what vLLM worked out; None where it was given.
    free_gib         free on the card when vLLM looked first.
    activation_gib, non_torch_gib   of the profile run; newer versions print weights and non-torch memory as one.
    """

    version: str | None = None
    weights_gib: float | None = None
    checkpoint_gib: float | None = None
    kv_cache_gib: float | None = None
    given_kv_cache_gib: float | None = None
    kv_tokens: float | None = None
    concurrency: float | None = None
    graphs_gib: float | None = None
    free_gib: float | None = None
    total_gib: float | None = None
    activation_gib: float | None = None
    non_torch_gib: float | None = None

    @property
    def told_anything(self) -> bool:
        """Whether there is anything to learn from."""
        return any(getattr(self, field.name) is not None for field in fields(self) if field.name != "version")


def read_start(text: str) -> StartFigures:
    """The figures of the last start in a log; a log of something else gives none."""
    plain = _COLOUR.sub("", text)
    versions = list(_VERSION.finditer(plain))
    # what stands before the last engine was made belongs to an earlier start of the container
    last = plain[versions[-1].start() :] if versions else plain
    found: dict[str, float] = {}
    for name, pattern in _SENTENCES.items():
        if matches := list(pattern.finditer(last)):
            figure = next(group for group in matches[-1].groups() if group is not None)
            found[name] = float(figure.replace(",", ""))
    return StartFigures(version=versions[-1].group(1) if versions else None, **found)
