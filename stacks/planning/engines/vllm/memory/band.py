"""How sure a prediction is: the half widths of what is not known about a start, and their sum.

Each width is physical (what another value would change) or, for what no formula gives, the scatter from one machine to
the next: research/calibrate.py sets it from sources left out, one vote each.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import hypot, sqrt

from stacks.planning.engines.vllm.memory import weights
from stacks.planning.engines.vllm.memory.architecture import State
from stacks.planning.engines.vllm.memory.constants import constant
from stacks.planning.engines.vllm.memory.parts import parts_of
from stacks.planning.engines.vllm.memory.resolved import resolve
from stacks.planning.engines.vllm.memory.run import EngineRun

_OFFLINE = {2048: 8192, 8192: 16384}  # engine/arg_utils.py: max_num_batched_tokens of the API server and the LLM class
_GUESSED_MINORS = 3  # a guessed version may be so many minor versions off
_OLDEST_MINOR = 11
_PRINTED_GIB = 0.005
CLASSES = ("main", "hybrid", "multimodal", "ranks", "wsl2")


def classes_of(run: EngineRun) -> tuple[str, ...]:
    """The classes of CLASSES that a run belongs to; main: one card under Linux, text, no recurrent layers."""
    found = []
    if any(isinstance(layer, State) for layer, _ in run.architecture.caches):
        found.append("hybrid")
    if run.multimodal:
        found.append("multimodal")
    if run.cards > 1:
        found.append("ranks")
    if run.wsl2:
        found.append("wsl2")
    return tuple(found) or ("main",)


@lru_cache(maxsize=4096)
def band_parts(run: EngineRun) -> tuple[tuple[str, float], ...]:
    """(what is not known, half width in GiB), largest first; independent of each other."""
    if run.offset_gib is not None:
        return _after_measuring(run)
    resolved, parts = resolve(run), parts_of(run)
    found = {
        "this machine": max(constant(f"bandMachine.{name}GiB") for name in classes_of(run)),
        "weights": _weights_gib(run),
    }
    if not run.enforce_eager and not run.warm_compile_cache and parts.compiling > parts.step:
        found["compilation"] = constant("bandParts.compileGiB")
    if parts.graphs:
        found["CUDA graphs"] = constant("bandParts.graphsShare") * parts.graphs
    found["sampler"] = _sampler_gib(run)
    if resolved.rules.accounting == "consumed" and "version" not in run.assumed:
        found["memory consumed beside torch"] = constant("bandParts.consumedGiB")
    if run.tensor_parallel > 1:
        found["ranks"] = constant("bandParts.rankGiB") * (run.tensor_parallel - 1)
    if parts.encoder:
        found["encoder"] = constant("bandParts.encoderShare") * parts.encoder
    if run.architecture.unmodelled:
        found["what is not modelled"] = constant("bandParts.unmodelledShare") * parts.weights
    found |= _guesses(run)
    return tuple(sorted(((name, width) for name, width in found.items() if width), key=lambda part: -part[1]))


def _after_measuring(run: EngineRun) -> tuple[tuple[str, float], ...]:
    """Of the same model only what differs from start to start; of another, its own weights and activations too."""
    if run.same_model is not None:
        return (("from start to start", constant("bandMeasured.startGiB")),)
    found = {
        "another model on this machine": constant("bandMeasured.modelGiB"),
        "weights": weights.unknown_gib(run),
        "sampler": _sampler_gib(run),
    }
    return tuple((name, width) for name, width in found.items() if width)


def _weights_gib(run: EngineRun) -> float:
    """Nothing where they were printed, but for the two digits of it."""
    if run.same_model is not None and run.same_model.weights_gib is not None:
        return _PRINTED_GIB
    return weights.unknown_gib(run)


def _guesses(run: EngineRun) -> dict[str, float]:
    """What the fields of `assumed` would change at other values."""
    found = {}
    if "version" in run.assumed:
        found["a guessed version"] = _version_gib(run)
    if "gpu_memory_utilization" in run.assumed and run.total_gib is not None:  # 0.90 or 0.92, by the version
        found["a guessed gpu_memory_utilization"] = 0.02 * run.total_gib
    if "max_num_batched_tokens" in run.assumed:  # the LLM class takes more than the API server
        batched = resolve(run).batched
        larger = replace(run, max_num_batched_tokens=_OFFLINE.get(batched, batched), assumed=frozenset())
        found["a guessed max_num_batched_tokens"] = (parts_of(larger).activation - parts_of(run).activation) / 2
    return found


def _version_gib(run: EngineRun) -> float:
    """What a version up to _GUESSED_MINORS away charges more, and the scatter of its accounting."""
    minor, charged = resolve(run).rules.version[1], _charged_gib(run)
    found = [constant("bandParts.versionGiB")]
    for other in range(max(_OLDEST_MINOR, minor - _GUESSED_MINORS), minor + _GUESSED_MINORS + 1):
        version = replace(run, version=f"0.{other}.0", assumed=frozenset())
        scatter = constant("bandParts.consumedGiB") if resolve(version).rules.accounting == "consumed" else 0.0
        found.append(hypot(max(0.0, _charged_gib(version) - charged), scatter))
    return max(found)


def _charged_gib(run: EngineRun) -> float:
    parts = parts_of(run)
    return parts.activation + parts.non_torch + parts.graphs


def _sampler_gib(run: EngineRun) -> float:
    """What one sampler scatters by, where it may be the peak."""
    parts = parts_of(run)
    beyond = parts.sampler >= parts.activation - constant("bandParts.compileGiB")
    return constant("bandParts.samplerShare") * parts.sampler if beyond else 0.0


def band_gib(run: EngineRun) -> float:
    """Half width of the error band of the KV cache: independent errors, added as squares."""
    return sqrt(sum(width * width for _, width in band_parts(run)))
