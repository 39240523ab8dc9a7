"""The memory arithmetic, against figures from logs and by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks.catalog import load
from stacks.planning.memory import activation_gib, derived_utilization, kv_shape, loaded_weights_gib

PHI = load().model("phi-3-mini-4k-instruct-awq")
GEMMA = load().model("gemma-3-270m")
QWEN = load().model("qwen2.5-1.5b-instruct")


def test_phi_3_mini_needs_0_76_gib_for_2048_tokens_as_vllm_said() -> None:
    shape = kv_shape(PHI, block=16, max_num_batched_tokens=2048, batches_in_flight=1)
    # 129 blocks of 16 tokens x 32 layers x 2 x 32 heads x 96 x 2 bytes: the sliding window costs one block more than the text book
    assert shape.blocks_per_request(2048) == 129
    assert round(shape.needed_gib(2048), 2) == 0.76


def test_phi_3_mini_fits_1920_but_not_2048_tokens_into_the_0_72_gib_of_the_log() -> None:
    shape = kv_shape(PHI, block=16, max_num_batched_tokens=2048, batches_in_flight=1)
    assert shape.needed_gib(1920) <= 0.72 < shape.needed_gib(2048)


def test_gemma_3_270m_holds_55356_tokens_in_one_gib_on_the_cpu_as_measured() -> None:
    shape = kv_shape(GEMMA, block=128, max_num_batched_tokens=2048, batches_in_flight=1)
    assert (shape.full_groups, shape.sliding_groups) == (1, 5)
    assert int(shape.concurrency(1.0, 2048) * 2048) == 55356


def test_qwen_2_5_1_5b_takes_28672_bytes_a_token() -> None:
    shape = kv_shape(QWEN, block=16, max_num_batched_tokens=2048, batches_in_flight=2)
    assert shape.block_bytes == 28672 * 16 // 1
    assert shape.blocks_per_request(4096) == 256


def test_activations_are_the_larger_of_forward_and_sampler() -> None:
    few = activation_gib(PHI, max_num_batched_tokens=2048, max_num_seqs=8, catalog=load())
    many = activation_gib(PHI, max_num_batched_tokens=2048, max_num_seqs=256, catalog=load())
    assert few == pytest.approx(0.234, abs=0.001)  # 2048 x 2 x (3 x 8192 + 4 x 3072) + 2 x 8192 x 3072 x 2 bytes
    assert many == pytest.approx(0.295, abs=0.001)  # 256 x 32064 x 38.6 bytes


def test_loaded_weights_stay_above_the_file() -> None:
    assert loaded_weights_gib(PHI) == pytest.approx(2.14 * 1.01 + 0.0625)


def test_utilization_leaves_the_desktop_and_the_context_alone() -> None:
    assert derived_utilization(total_gib=8.0, desktop_gib=1.25, context_gib=0.25) == 0.81
    assert derived_utilization(total_gib=1.0, desktop_gib=1.0, context_gib=0.25) == 0.0


@given(total=st.floats(1, 300), desktop=st.floats(0, 4), context=st.floats(0, 1))
def test_the_start_check_of_vllm_always_holds(total: float, desktop: float, context: float) -> None:
    used = derived_utilization(total_gib=total, desktop_gib=desktop, context_gib=context)
    assert 0 <= used <= 1
    assert used * total <= max(0.0, total - desktop - context) + 1e-9


@given(a=st.integers(1, 100_000), b=st.integers(1, 100_000), model=st.sampled_from([PHI, GEMMA, QWEN]))
def test_a_longer_context_never_needs_less(a: int, b: int, model: object) -> None:
    shape = kv_shape(model, block=16, max_num_batched_tokens=2048, batches_in_flight=2)  # type: ignore[arg-type]
    short, long = sorted((a, b))
    assert shape.needed_gib(short) <= shape.needed_gib(long)


@given(less=st.floats(0, 100), more=st.floats(0, 100))
def test_more_memory_never_holds_fewer_requests(less: float, more: float) -> None:
    shape = kv_shape(PHI, block=16, max_num_batched_tokens=2048, batches_in_flight=2)
    less, more = sorted((less, more))
    assert shape.concurrency(less, 4096) <= shape.concurrency(more, 4096)
