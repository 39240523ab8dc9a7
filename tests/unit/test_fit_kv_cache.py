"""KV pages and blocks, by hand: expectations are worked out in the comments and checked against what vLLM printed where
a log exists.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.planning.engines.vllm.memory import GIB
from stacks.planning.engines.vllm.memory.hf_config import read_hf_config
from stacks.planning.engines.vllm.memory.kv_cache import Pool, pool
from stacks.planning.engines.vllm.memory.versions import behaviour

PHI3 = {
    "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064, "max_position_embeddings": 4096,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
}  # fmt: skip
LLAMA8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}  # fmt: skip
GEMMA27B = {
    "model_type": "gemma3_text", "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 62,
    "num_attention_heads": 32,
    "num_key_value_heads": 16, "head_dim": 128, "vocab_size": 262208, "max_position_embeddings": 131072,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
}  # fmt: skip
QWEN27B = {
    "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5",
    "text_config": {
        "hidden_size": 5120, "intermediate_size": 17408, "num_hidden_layers": 64, "num_attention_heads": 24,
        "num_key_value_heads": 4,
        "head_dim": 256, "vocab_size": 248320, "max_position_embeddings": 262144, "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
        "linear_num_value_heads": 48,
        "linear_value_head_dim": 128, "mamba_ssm_dtype": "float32",
    },
}  # fmt: skip
DEEPSEEK_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
    "first_k_dense_replace": 1,
    "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128, "v_head_dim": 128, "vocab_size": 102400, "max_position_embeddings": 163840,
}  # fmt: skip


def paged(config: dict[str, Any], version: str = "0.33.0", **options: Any) -> Pool:
    return pool(read_hf_config(config), rules=behaviour(version), **options)


def test_phi3_slides_in_every_layer_and_so_needs_one_block_more_than_the_textbook() -> None:
    # A token: 32 layers x 2 x 32 heads x 96 values x 2 bytes = 393,216 B; 2048 tokens are 128 blocks of 16, and one for
    # the window's edge.
    found = paged(PHI3, "0.11.0")
    assert found.block_bytes == 16 * 393_216
    assert found.blocks_per_request(2048) == 129
    assert f"{found.needed_bytes(2048) / GIB:.2f}" == "0.76"  # as seed 000's log prints it


def test_llama_8b_costs_131072_bytes_a_token() -> None:
    found = paged(LLAMA8B, "0.31.0", batched=8192)
    assert found.block_bytes == 16 * 32 * 2 * 8 * 128 * 2
    # 56.21 GiB are 28,779 whole blocks; a request of 131,072 tokens holds 8192 of them.
    assert found.concurrency(56.21 * GIB, 131072) == pytest.approx(28779 / 8192)


def test_gemma3_27b_forms_seven_groups_of_ten_layers() -> None:
    # 52 sliding and 10 full layers: groups of 10, so 6 sliding (8 padding layers) and 1 full; vLLM 0.12 printed 66,112
    # tokens.
    found = paged(GEMMA27B, "0.12.0", batched=8192)
    assert [(group.kind, group.count) for group in found.groups] == [("sliding", 6), ("full", 1)]
    assert found.tokens(35.31 * GIB, 131072) == 66_112


@pytest.mark.parametrize(("dtype", "block"), [("auto", 784), ("fp8", 1568)])
def test_a_recurrent_state_raises_the_attention_block(dtype: str, block: int) -> None:
    # State 48x128x128x4 + 10240x3x2 = 3,207,168 B; a token of one attention layer is 2x4x256x2 = 4096 B (fp8: 2048):
    # 783 -> 784 = 49x16.
    assert {group.block for group in paged(QWEN27B, "0.27.1", kv_cache_dtype=dtype).groups} == {block}


def test_mla_stores_one_latent_whatever_the_number_of_ranks() -> None:
    # 27 layers x 576 values x 2 bytes = 31,104 B a token.
    assert paged(DEEPSEEK_LITE, tensor_parallel=1).block_bytes == 16 * 31_104
    assert paged(DEEPSEEK_LITE, tensor_parallel=8).block_bytes == 16 * 31_104


def test_kv_heads_are_replicated_when_there_are_more_ranks_than_heads() -> None:
    assert paged(LLAMA8B, tensor_parallel=8).block_bytes == paged(LLAMA8B, tensor_parallel=16).block_bytes


def test_a_pipeline_stage_holds_its_share_of_the_layers() -> None:
    assert paged(LLAMA8B, pipeline_parallel=2).block_bytes * 2 == paged(LLAMA8B).block_bytes


def test_async_scheduling_since_026_keeps_two_batches_in_flight() -> None:
    # 1023 + 2 x 2048 = 5119 tokens are 320 blocks, and one more; a batch less before.
    sliding = next(group for group in paged(GEMMA27B).groups if group.kind == "sliding")
    assert paged(GEMMA27B, "0.26.0")._blocks(sliding, 100_000) == 321
    assert paged(GEMMA27B, "0.25.0")._blocks(sliding, 100_000) == 193


def test_the_null_block_is_held_back_from_030() -> None:
    found, before = paged(LLAMA8B, "0.30.0"), paged(LLAMA8B, "0.29.0")
    exactly = found.needed_bytes(4096)
    assert before.holds(exactly, 4096)
    assert not found.holds(exactly, 4096)
    assert found.holds(exactly + found.block_bytes, 4096)


def test_printed_tokens_depend_on_the_length_since_0201() -> None:
    assert (
        paged(QWEN27B, "0.27.1", kv_cache_dtype="fp8", states=2, tensor_parallel=2).tokens(8.91 * GIB, 131072)
        == 541_764
    )
    assert (
        paged(QWEN27B, "0.27.1", kv_cache_dtype="fp8", states=2, tensor_parallel=2).tokens(8.91 * GIB, 262144)
        == 560_445
    )


@given(
    length=st.integers(1, 300_000),
    more=st.integers(1, 50_000),
    model=st.sampled_from([PHI3, LLAMA8B, GEMMA27B, QWEN27B, DEEPSEEK_LITE]),
)
def test_a_longer_context_never_needs_less(length: int, more: int, model: dict[str, Any]) -> None:
    found = paged(model)
    assert found.needed_bytes(length) <= found.needed_bytes(length + more)


@given(
    gib=st.floats(0.01, 100),
    model=st.sampled_from([PHI3, LLAMA8B, GEMMA27B, QWEN27B, DEEPSEEK_LITE]),
    version=st.sampled_from(["0.10.2", "0.12.0", "0.20.0", "0.33.0"]),
)
def test_the_largest_length_fits_and_one_token_more_does_not(gib: float, model: dict[str, Any], version: str) -> None:
    found = paged(model, version)
    longest = found.largest_len(gib * GIB)
    assert longest == 0 or found.holds(gib * GIB, longest)
    assert longest >= 1 << 24 or not found.holds(gib * GIB, longest + 1)
