"""CUDA graphs: what is estimated inside the budget, what capture really takes, and what surrounds the budget."""

from __future__ import annotations

from stacks.planning.engines.vllm.memory.architecture import Architecture, Attention, State
from stacks.planning.engines.vllm.memory.constants import constant
from stacks.planning.engines.vllm.memory.versions import Behaviour

_V2_0_24 = frozenset(
    {
        "Qwen3ForCausalLM",
        "DeepseekV2ForCausalLM",
        "Qwen2MoeForCausalLM",
        "GraniteMoeForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
    }
)
_V2_MOE = frozenset(
    {"DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM", "KimiK3ForConditionalGeneration"}
)
_LARGEST_GRAPH = 512  # tokens; vLLM captures sizes up to min(2 x max_num_seqs, 512)


def second_runner(shape: Architecture, rules: Behaviour, *, wsl2: bool, ngram: bool = False) -> bool:
    """Whether the V2 model runner serves this network (config/vllm.py use_v2_model_runner). WSL2 has no UVA, which it
    needs; before 0.30 it leaves drafts by n-gram lookup to V1.
    """
    version = rules.version
    if wsl2 or (ngram and version < (0, 30, 0)):
        return False
    if version >= (0, 30, 0):
        return True
    if version >= (0, 25, 0):
        hybrid = any(isinstance(layer, State) for layer, _ in shape.caches)
        return shape.name in _V2_MOE or (shape.experts is None and not hybrid)
    if version >= (0, 24, 0):
        return shape.name in _V2_0_24
    return version >= (0, 22, 0) and shape.name == "Qwen3ForCausalLM"


def estimate_gib(shape: Architecture, rules: Behaviour, *, seqs: int, eager: bool, second: bool) -> float:
    """GiB that the profiler holds back for CUDA graphs: since 0.20, but the V2 runner measured none before 0.30."""
    if eager or not rules.graphs_in_budget:
        return 0.0
    if rules.version >= (0, 30, 0):
        return real_gib(shape, rules, seqs=seqs, eager=False)
    if second:
        return 0.0
    return (constant("graphs.estimateGiB") + constant("graphs.estimateGiBPerWidth") * _width(shape)) * _share(seqs)


def real_gib(shape: Architecture, rules: Behaviour, *, seqs: int, eager: bool) -> float:
    """GiB that capture really takes."""
    if eager:
        return 0.0
    fixed, slope = (
        ("measuredGiB", "measuredGiBPerWidth") if rules.version >= (0, 30, 0) else ("realGiB", "realGiBPerWidth")
    )
    return (constant(f"graphs.{fixed}") + constant(f"graphs.{slope}") * _width(shape)) * _share(seqs)


def profiling_blocks(rules: Behaviour, *, seqs: int, eager: bool, second: bool) -> int:
    """Blocks of the throw-away KV cache in which graphs are profiled: one a sequence
    (_init_minimal_kv_cache_for_profiling); the V2 runner profiles none before 0.30.
    """
    if eager or not rules.graphs_in_budget or (second and rules.version < (0, 30, 0)):
        return 0
    return min(seqs, _LARGEST_GRAPH)


def context_gib(capability: tuple[int, int] | None) -> float:
    """The process' own CUDA context on the card."""
    old = capability is not None and capability < (8, 0)
    return constant("context.before75GiB" if old else "context.sinceGiB")


def non_torch_gib(
    shape: Architecture, rules: Behaviour, *, capability: tuple[int, int] | None, tensor_parallel: int
) -> float:
    """GiB that the budget is charged for beside torch: see versions.Accounting."""
    ranks = tensor_parallel - 1
    if rules.accounting == "consumed":
        charged = constant("nonTorch.consumedGiB") + constant("nonTorch.consumedPerRankGiB") * ranks
    else:
        charged = constant("nonTorch.growthGiB") + constant("nonTorch.growthPerRankGiB") * ranks
    recurrent = any(isinstance(layer, State) and layer.kind in ("gdn", "kda") for layer, _ in shape.caches)
    if recurrent and capability is not None and capability < (9, 0):
        charged += constant("nonTorch.recurrentGiB")
    return charged


def _width(shape: Architecture) -> int:
    """Layers x hidden size: what captured graphs grow with."""
    attention = sum(1 for layer in shape.layers if layer is None or isinstance(layer, Attention | State))
    return attention * shape.hidden


def _share(seqs: int) -> float:
    """Fewer sequences, fewer graphs: sizes go up to twice max_num_seqs."""
    least = constant("graphs.leastShare")
    return least + (1 - least) * min(1.0, 2 * seqs / _LARGEST_GRAPH)
