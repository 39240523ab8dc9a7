"""The KV cache: pages, groups of layers, blocks a request holds, and the numbers that vLLM prints of them.

Follows vllm/v1/kv_cache_interface.py, vllm/v1/core/kv_cache_utils.py and vllm/platforms/interface.py
(_align_hybrid_block_size). A page is one layer's share of a block; all layers of a group fill their page of the same
block together, and all groups draw blocks from one pool, so a block's bytes are the page times the layers of the
largest group. Everything is per card.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from stacks.planning.engines.vllm.memory.architecture import Architecture, Attention, State
from stacks.planning.engines.vllm.memory.versions import Behaviour

_LONGEST = 1 << 24  # tokens; where a length is searched, beyond any model's context
_BYTES = {
    "fp8": 1.0,
    "int8": 1.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "half": 2.0,
    "float32": 4.0,
    "nvfp4": 0.5625,
    "int4": 0.5625,
}


@dataclass(frozen=True)
class Group:
    """`count` groups of layers that hold blocks alike. `kind` is full, sliding, chunked, cross or state; `block` tokens
    a block; `window` of a cross group are the tokens of an encoder that a request may have.
    """

    kind: str
    count: int
    block: int
    window: int = 0


@dataclass(frozen=True)
class Pool:
    """How one engine pages its KV cache on one card.

    block_bytes   bytes of one block of the pool.
    groups        what draws blocks; empty where the network has no cache.
    in_flight     tokens that may be computed but not yet settled.
    states        blocks that one request holds in each group of recurrent layers.
    layer_pages   (group, page bytes, layers): what the start check before 0.14 sums over layers.
    """

    block_bytes: int
    groups: tuple[Group, ...]
    in_flight: int
    states: int
    layer_pages: tuple[tuple[Group, int, int], ...]
    rules: Behaviour

    def _blocks(self, group: Group, tokens: int) -> int:
        """Blocks of one group for one request of `tokens` tokens: max_memory_usage_bytes of its spec / page."""
        if group.kind == "state":
            return self.states
        if group.kind == "sliding":  # one more: the window may begin inside a block
            return ceil(min(group.window - 1 + self.in_flight, tokens) / group.block) + 1
        if group.kind == "cross":
            return ceil(group.window / group.block)
        if group.kind == "chunked":
            return ceil(min(group.window + self.in_flight, tokens) / group.block)
        return ceil(tokens / group.block)

    def blocks_per_request(self, tokens: int) -> int:
        """Blocks of the pool that one request of `tokens` tokens holds, over all groups."""
        return sum(group.count * self._blocks(group, tokens) for group in self.groups)

    def needed_bytes(self, tokens: int) -> int:
        """Bytes that the start check asks for one request of `tokens` tokens."""
        if self.rules.grouped_need:
            return self.block_bytes * self.blocks_per_request(tokens)
        return sum(page * layers * self._blocks(group, tokens) for group, page, layers in self.layer_pages)

    def usable_bytes(self, pool_bytes: float) -> float:
        """What the start check compares with: since 0.30 without the null block."""
        return pool_bytes - self.block_bytes if self.rules.null_block else pool_bytes

    def holds(self, pool_bytes: float, tokens: int) -> bool:
        """Whether the start check passes."""
        if not self.groups:
            return True
        return self.needed_bytes(tokens) <= self.usable_bytes(pool_bytes)

    def blocks(self, pool_bytes: float) -> int:
        """Blocks in a pool of `pool_bytes` bytes."""
        return max(0, int(pool_bytes // self.block_bytes)) if self.block_bytes else 0

    def concurrency(self, pool_bytes: float, tokens: int) -> float:
        """Requests of `tokens` tokens that the pool holds at once: "Maximum concurrency for ... tokens per request"."""
        each = self.blocks_per_request(tokens)
        return self.blocks(pool_bytes) / each if each else 0.0

    def tokens(self, pool_bytes: float, max_model_len: int) -> int:
        """The printed "GPU KV cache size"."""
        if not self.groups:
            return 0
        if self.rules.tokens_by_concurrency:
            return int(self.concurrency(pool_bytes, max_model_len) * max_model_len)
        groups = sum(group.count for group in self.groups)
        return self.blocks(pool_bytes) // groups * min(group.block for group in self.groups)

    def largest_len(self, pool_bytes: float) -> int:
        """The longest max_model_len whose start check passes, 0 if none: vLLM's estimate, by the same binary search."""
        if not self.groups or not self.holds(pool_bytes, 1):
            return 0
        low, high = 1, _LONGEST
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.holds(pool_bytes, middle) else (low, middle - 1)
        return low


@dataclass(frozen=True)
class _Spec:
    """Layers with the same cache. `per_token` bytes (attention) or `state` bytes (recurrent) of one layer on one
    card.
    """

    kind: str
    window: int
    per_token: float
    state: int
    count: int


def value_bytes(kv_cache_dtype: str, dtype: str) -> float:
    """Bytes of a cached value."""
    word = dtype if kv_cache_dtype in ("auto", "") else kv_cache_dtype
    return next((size for name, size in _BYTES.items() if word.startswith(name)), 2.0)


def _specs(
    caches: tuple[tuple[Attention | State, int], ...],
    *,
    size: float,
    kv_cache_dtype: str,
    dtype_bytes: int,
    tensor_parallel: int,
    draft_tokens: int,
    batched: int,
) -> list[_Spec]:
    specs = []
    for layer, count in caches:
        if isinstance(layer, State):
            kept = layer.conv_values + draft_tokens * layer.conv_width  # mamba_utils.py: conv_kernel - 1 + num_spec
            state = (layer.ssm_values * layer.state_bytes + kept * dtype_bytes) // tensor_parallel
            specs.append(_Spec("state", 0, 0.0, state, count))
            continue
        if layer.kind == "mla":
            per_token = layer.head_dim * size
            if kv_cache_dtype == "fp8_ds_mla":
                per_token = 656.0  # 512 fp8 values, 4 scales of 4 bytes, 64 bf16 rotary values
            specs.append(_Spec("full", 0, per_token + layer.indexer_bytes, 0, count))
            continue
        heads = max(1, layer.kv_heads // tensor_parallel)  # vLLM replicates KV heads when there are fewer than ranks
        per_token = heads * (layer.head_dim + layer.head_dim_v) * size
        # chunked-local groups stay off unless VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE is set
        kind = "full" if layer.kind == "chunked" else layer.kind
        # CrossAttentionSpec: max_num_encoder_input_tokens, which config/scheduler.py makes max_num_batched_tokens
        window = batched if kind == "cross" else layer.window or 0 if kind == "sliding" else 0
        specs.append(_Spec(kind, window, per_token, 0, count))
    merged: dict[tuple[str, int, float, int], int] = {}
    for spec in specs:
        key = (spec.kind, spec.window, spec.per_token, spec.state)
        merged[key] = merged.get(key, 0) + spec.count
    return [_Spec(*key, count) for key, count in merged.items()]


@lru_cache(maxsize=512)
def pool(
    architecture: Architecture,
    *,
    rules: Behaviour,
    kv_cache_dtype: str = "auto",
    dtype: str = "bfloat16",
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    block: int = 16,
    batched: int = 2048,
    states: int = 1,
    drafts: tuple[tuple[Attention | State, int], ...] = (),
    draft_tokens: int = 0,
    batches: int | None = None,
) -> Pool:
    """The paging of `architecture` (and the caches of a `drafts` model beside it) on the card of a pipeline stage with
    most layers. `batches`: steps in flight, None for what the version has on one stage.
    """
    caches = _of_stage(architecture, pipeline_parallel)
    in_flight = batched * (rules.batches_in_flight if batches is None else batches)
    specs = _specs(
        caches + drafts,
        size=value_bytes(kv_cache_dtype, dtype),
        kv_cache_dtype=kv_cache_dtype,
        dtype_bytes=4 if dtype == "float32" else 2,
        tensor_parallel=tensor_parallel,
        draft_tokens=draft_tokens,
        batched=batched,
    )
    if not specs:
        return Pool(0, (), in_flight, states, (), rules)
    mla = any(isinstance(layer, Attention) and layer.kind == "mla" for layer, _ in caches)
    block = _aligned_block(specs, block, rules.hybrid_alignment if mla else 16)
    if all(spec.kind == "full" for spec in specs):  # one type, whatever the widths (UniformTypeKVCacheSpecs)
        group = Group("full", 1, block)
        pages = tuple((group, int(block * spec.per_token), spec.count) for spec in specs)
        return Pool(sum(page * count for _, page, count in pages), (group,), in_flight, states, pages, rules)
    return _grouped(specs, block=block, in_flight=in_flight, states=states, rules=rules)


def _of_stage(architecture: Architecture, stages: int) -> tuple[tuple[Attention | State, int], ...]:
    if stages == 1:
        return architecture.caches
    each = ceil(len(architecture.layers) / stages)
    parts = [architecture.layers[i : i + each] for i in range(0, len(architecture.layers), each)]
    fullest = max(parts, key=lambda part: sum(layer is not None for layer in part))
    counts: dict[Attention | State, int] = {}
    for layer in fullest:
        if layer is not None:
            counts[layer] = counts.get(layer, 0) + 1
    return tuple(counts.items())


def _aligned_block(specs: list[_Spec], block: int, alignment: int) -> int:
    """Tokens of an attention block, raised until its page holds the largest recurrent state
    (_align_hybrid_block_size).
    """
    state = max((spec.state for spec in specs), default=0)
    widths = [spec.per_token for spec in specs if spec.per_token]
    if not state or not widths:
        return block
    alignment = max(alignment, block)
    return max(block, alignment * ceil(state / (alignment * widths[0])))


def _grouped(specs: list[_Spec], *, block: int, in_flight: int, states: int, rules: Behaviour) -> Pool:
    """Groups of equal size over types of layers (_get_kv_cache_groups_uniform_page_size), after pages were made
    equal.
    """
    page = max(int(block * spec.per_token) if spec.per_token else spec.state for spec in specs)
    buckets: dict[Group, int] = {}
    for spec in specs:
        # A narrower layer gets a longer block where its page divides the widest (unify_kv_cache_spec_page_size), else
        # padding.
        own = int(block * spec.per_token)
        longer = block * (page // own) if own and page % own == 0 else block
        bucket = Group(spec.kind, 0, longer, spec.window)
        buckets[bucket] = buckets.get(bucket, 0) + spec.count
    smallest, largest = min(buckets.values()), max(buckets.values())
    size = largest if largest < smallest * rules.padding_ratio else smallest
    groups = tuple(Group(b.kind, ceil(count / size), b.block, b.window) for b, count in buckets.items())
    pages = tuple((bucket, page, count) for bucket, count in buckets.items())
    return Pool(page * size, groups, in_flight, states, pages, rules)
