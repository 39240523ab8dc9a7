"""KV pages of the catalogue's models through the predictor, against figures from logs."""

from stacks.catalog import load
from stacks.planning.engines.vllm.memory import EngineRun, kv_needed_gib, largest_len
from stacks.planning.engines.vllm.networks import network
from tests.support.stacks import plan


def _run(model: str, version: str) -> EngineRun:
    return EngineRun(
        architecture=network(load().model(model)), version=version, dtype="float16", max_num_batched_tokens=2048
    )


def test_phi_3_mini_fits_1920_but_not_2048_tokens_into_the_0_72_gib_of_the_log() -> None:
    run = _run("phi-3-mini-4k-instruct-awq", "0.12.0")
    # 129 blocks of 16 tokens x 32 layers x 2 x 32 heads x 96 x 2 bytes: the sliding window costs one block more than
    # the text book
    assert 1920 <= largest_len(run, kv_gib=0.72) < 2048
    assert largest_len(run, kv_gib=129 * 16 * 393216 / 2**30) == 2048


def test_gemma_3_270m_holds_55356_tokens_in_one_gib_on_the_cpu_as_measured() -> None:
    assert plan("dev").models[0].memory.kv_tokens == 55356


def test_qwen_2_5_1_5b_takes_28672_bytes_a_token() -> None:
    run = _run("qwen2.5-1.5b-instruct", "0.31.0")
    # 2 x 2 heads x 128 x 28 layers x 2 bytes; one block more, which this version holds back
    assert kv_needed_gib(run, max_model_len=4096) * 2**30 == 28672 * (4096 + 16)
