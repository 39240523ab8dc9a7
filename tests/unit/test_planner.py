"""The solver as a whole: the failures of the seed documents, properties, speed, and that every way out is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from host.system.machine import detected
from stacks.catalog import Catalog, load
from stacks.errors import PlanError
from stacks.plan import ModelPlan, Plan
from stacks.planning.build import build_plan, try_plan
from stacks.planning.edits import apply_edits
from stacks.planning.engines.vllm.memory import Condition, EngineRun, Verdict, kv_needed_gib, predict
from stacks.planning.engines.vllm.networks import network
from stacks.settings import Settings
from tests.support.stacks import configuration

SEED_ENGINE = "0.12.0"  # what :latest was on the day of seed document 000
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def machine(**changes: Any) -> dict[str, Any]:
    return {"kind": "nvidia", "gpu": "rtx-4090", "memoryGiB": 128, "cpus": 32, **changes}


def wish(**changes: Any) -> dict[str, Any]:
    return {"name": "m", "model": "qwen2.5-1.5b-instruct", "contextTokens": 4096, "concurrentRequests": 8, **changes}


def config(*models: dict[str, Any], objective: str | None = None, **of_machine: Any) -> dict[str, Any]:
    numbered = [{"port": 30080 + n, **m} for n, m in enumerate(models or (wish(),))]
    extra = {"objective": objective} if objective else {}
    return {"machine": machine(**of_machine), "cluster": {"driver": "minikube"}, "models": numbered, **extra}


def planned(own: dict[str, Any], *, catalog: Catalog | None = None) -> Plan:
    return build_plan(Settings.from_config(own, detected=detected()), stack="test", catalog=catalog)


def argument(model: ModelPlan, flag: str) -> int:
    return int(model.args[model.args.index(flag) + 1])


def refused(own: dict[str, Any]) -> PlanError:
    with pytest.raises(PlanError) as caught:
        planned(own)
    return caught.value


def every_proposal_plans_green(own: dict[str, Any], error: PlanError) -> None:
    assert error.proposals, error
    for proposal in error.proposals:
        assert str(proposal) in str(error)
        planned(apply_edits(own, proposal.edits))


# The failures of the seed documents


def seed_run(**changes: Any) -> EngineRun:
    model = load().model("phi-3-mini-4k-instruct-awq")
    run = EngineRun(
        architecture=network(model), version=SEED_ENGINE, total_gib=8.0, free_gib=6.5, capability=(7, 5), wsl2=True,
        gpu_memory_utilization=0.40, max_model_len=2048, max_num_seqs=256, max_num_batched_tokens=2048, dtype="float16",
        quantization="awq", checkpoint_gib=model.weights_gib.value,
    )  # fmt: skip
    return replace(run, **changes)


def test_seed_000_needs_0_76_gib_and_has_about_0_72() -> None:
    answer = predict(seed_run())
    assert f"{answer.kv_needed_gib:.2f}" == "0.76"
    assert answer.kv_gib == pytest.approx(0.72, abs=max(answer.band_gib, 0.05))
    assert not answer.fits and answer.verdict is not Verdict.FITS
    assert predict(seed_run(max_model_len=1920)).verdict is not Verdict.REFUSES  # what the document found by hand
    assert answer.failed is Condition.KV_TOO_SMALL
    assert answer.sentence and "0.76 GiB KV cache is needed" in answer.sentence


def test_seed_000_at_0_40_is_refused_with_the_arithmetic_and_every_way_out_works() -> None:
    own = configuration(
        "rtx2060",
        lambda o: o["models"][0].update(contextTokens=2048, concurrentRequests=256, pin={"gpuMemoryUtilization": 0.40}),
    )
    error = refused(own)
    assert "phi-3-mini:" in str(error) and "0.40 x 8.00 GiB = 3.20 GiB budget" in str(error)
    assert any("no pin.gpuMemoryUtilization" in a for a in error.alternatives)
    every_proposal_plans_green(own, error)


def test_seed_000_two_pods_of_4_gb_are_oom_killed_on_16_gb_of_ram() -> None:
    def two(own: dict[str, Any]) -> None:
        own["machine"].update(sharedCard=True)
        own["machine"].pop("wslMemoryGiB")  # WSL2's own default: half of 16 GiB, as in the seed
        own["models"][0].update(contextTokens=1024, replicas=2, pin={"memoryLimitGiB": 4})

    own = configuration("rtx2060", two)
    error = refused(own)
    assert "pin.memoryLimitGiB is 4, and loading takes 6.50 GiB" in str(error)
    assert "RAM: 2 x phi-3-mini may take" in str(error) and "the node has 4.00 GiB for pods" in str(error)
    assert str(error).count("OOMKilled") >= 2
    every_proposal_plans_green(own, error)


def test_seed_001_an_8_gb_card_with_a_desktop_cannot_give_0_9_away() -> None:
    model = wish(model="deepseek-r1-distill-qwen-1.5b", pin={"gpuMemoryUtilization": 0.9})
    own = config(model, gpu="rtx-4060", display=True, memoryGiB=32, cpus=8)
    error = refused(own)
    assert "0.90 x 7.62 GiB = 6.86 GiB" in str(error) and "are free beside the desktop" in str(error)
    assert "desktop" in str(error)
    assert any("no pin.gpuMemoryUtilization" in a for a in error.alternatives)
    every_proposal_plans_green(own, error)
    del own["models"][0]["pin"]
    memory = planned(own).models[0].memory
    held = memory.desktop_gib + memory.context_gib + memory.weights_gib + memory.activation_gib + memory.non_torch_gib
    assert held + memory.cuda_graphs_gib + memory.kv_cache_gib + memory.error_band_gib <= memory.total_gib


def test_seed_001_images_on_a_full_disk_meet_the_kubelets_eviction_threshold() -> None:
    def small(own: dict[str, Any]) -> None:
        own["machine"] |= {"diskFreeGiB": 45, "diskTotalGiB": 200}

    own = configuration("dev", small)  # 45 GiB free, of which 30 (15 % of 200) must stay: 15 < 18.3
    error = refused(own)
    assert "disk-pressure" in str(error) and "below 15% of 200 GiB the kubelet evicts pods" in str(error)


# What the planner gets out of a card


def test_the_2060_super_puts_nine_tenths_of_what_it_can_hold_to_work() -> None:
    model = planned(configuration("rtx2060")).models[0]
    memory, kv_bytes = model.memory, model.engine.kv_cache_memory_bytes
    fixed = (
        memory.desktop_gib
        + memory.context_gib
        + memory.weights_gib
        + memory.activation_gib
        + memory.non_torch_gib
        + memory.cuda_graphs_gib
    )
    possible = memory.total_gib - fixed - memory.error_band_gib
    assert memory.kv_cache_gib >= 0.9 * possible
    assert kv_bytes and kv_bytes == pytest.approx(memory.kv_cache_gib * 2**30, rel=0.001)


def test_context_is_raised_to_what_the_model_was_trained_for() -> None:
    plan = planned(
        config(wish(model="qwen2.5-1.5b-instruct", contextTokens=1024), objective="context", gpu="rtx-2060-super")
    )
    assert argument(plan.models[0], "--max-model-len") == 32768


def test_context_is_raised_to_what_the_card_holds() -> None:
    wished = wish(model="llama-3.1-8b-instruct-awq", contextTokens=1024)  # trained for 131,072
    model = planned(config(wished, objective="context", gpu="rtx-2060-super")).models[0]
    length = argument(model, "--max-model-len")
    assert 1024 < length < 131_072
    assert 1 <= model.memory.concurrency < (length + 128) / length  # one step more would not be held once
    refused(config({**wished, "contextTokens": 8192}, objective="context", gpu="rtx-2060-super"))


def test_throughput_raises_requests_and_holds_all_of_them() -> None:
    plain, more = (planned(config(wish(), objective=o)).models[0] for o in (None, "throughput"))
    assert argument(more, "--max-num-seqs") > argument(plain, "--max-num-seqs") == 8
    assert more.memory.concurrency >= argument(more, "--max-num-seqs") or argument(more, "--max-num-seqs") == 256


def test_latency_admits_only_what_is_held_and_takes_small_steps() -> None:
    model = planned(
        config(wish(contextTokens=32768, concurrentRequests=64), objective="latency", gpu="rtx-2060-super")
    ).models[0]
    assert argument(model, "--max-num-seqs") <= max(1, model.memory.concurrency)
    assert argument(model, "--max-num-batched-tokens") == 512


def test_replicas_fill_the_cards_and_say_what_is_gained() -> None:
    plan = planned(config(wish(contextTokens=2048), objective="replicas", gpus=2, sharedCard=True))
    assert plan.models[0].replicas > 2
    assert plan.shared_cards
    (decision,) = [d for d in plan.decisions if d.name == "objective"]
    assert "isolation and shorter queues, not more speed" in decision.reason
    one = planned(config(wish(contextTokens=2048)))
    assert one.models[0].estimate and plan.models[0].estimate
    assert plan.models[0].estimate.single_tokens_per_second == one.models[0].estimate.single_tokens_per_second


def test_a_shared_card_is_offered_as_often_as_it_has_engines_and_these_start_one_after_another() -> None:
    plan = planned(config(wish(replicas=2), sharedCard=True))
    assert [s.start_order for s in plan.cards[0].shares] == [0, 1]
    assert [d.kind for d in plan.decisions if d.name == "gpu.sharing"] == ["derived"]
    assert plan.nvidia and plan.nvidia.sharing.replicas == plan.nvidia.allocatable == 2


def test_the_second_engine_of_a_card_finds_as_much_free_as_its_start_check_asks() -> None:
    plan = planned(config(wish(name="a"), wish(name="b", model="llama-3.2-1b-instruct"), sharedCard=True))
    (card,) = plan.cards
    before = 0.0
    for share in card.shares:
        model = next(m for m in plan.models if m.name == share.model)
        asked = float(model.args[model.args.index("--gpu-memory-utilization") + 1]) * card.total_gib
        assert asked <= card.total_gib - card.desktop_gib - before + 1e-6
        before += share.fixed_gib + share.kv_cache_gib
    assert before <= card.total_gib - card.desktop_gib + 0.01


def test_priority_gives_the_larger_part_of_what_is_left() -> None:
    plan = planned(
        config(
            wish(name="a", priority=3, concurrentRequests=200), wish(name="b", concurrentRequests=200), sharedCard=True
        )
    )
    a, b = (m.memory.kv_cache_gib for m in plan.models)
    assert a > 2 * b


# Legality and the ways out

REFUSED: dict[str, dict[str, Any]] = {
    "fp8 cache on Turing": config(wish(kvCacheDtype="fp8"), gpu="rtx-2060-super"),
    "mxfp4 on Turing": config(wish(model="gpt-oss-20b"), gpu="rtx-2080-ti"),
    "bfloat16 only on Turing": config(wish(model="gemma-3-1b-it"), gpu="rtx-2060-super"),
    "too large": config(wish(model="llama-3.1-8b-instruct", contextTokens=8192), gpu="rtx-4060"),
    "too long": config(wish(model="llama-3.1-8b-instruct", contextTokens=131072), gpu="l4"),
    "too many replicas": config(wish(replicas=3), gpus=2),
    "too many on one card": config(wish(replicas=12, contextTokens=32768), sharedCard=True),
    "two models, one card": config(wish(), wish(name="n", model="llama-3.2-1b-instruct")),
    "old driver": config(wish(), nvidiaDriver="551.86"),
}
UNHELPED = {"old driver"}  # nobody can type a driver into a stack file


@pytest.mark.parametrize("case", sorted(set(REFUSED) - UNHELPED))
def test_every_way_out_plans_green(case: str) -> None:
    every_proposal_plans_green(REFUSED[case], refused(REFUSED[case]))


def test_shorter_fewer_fp8_smaller_and_fewer_replicas_are_all_offered_where_they_help() -> None:
    own = config(wish(model="llama-3.1-8b-instruct", contextTokens=65536, concurrentRequests=256), gpu="l4")
    error = refused(own)
    text = " | ".join(error.alternatives)
    for part in ("contextTokens", "kvCacheDtype: fp8", "model: llama-3.1-8b-instruct-"):
        assert part in text, text
    every_proposal_plans_green(own, error)


def test_fewer_sequences_are_offered_where_the_sampler_takes_the_room() -> None:
    own = config(wish(model="qwen2.5-1.5b-instruct", contextTokens=2048, concurrentRequests=4096), gpu="rtx-2060-super")
    error = refused(own)
    assert any("concurrentRequests" in a for a in error.alternatives), error.alternatives
    every_proposal_plans_green(own, error)


def test_an_illegal_combination_is_refused_in_vllms_words() -> None:
    assert "No valid attention backend found for cuda" in str(refused(REFUSED["fp8 cache on Turing"]))
    assert "Minimum capability: 80. Current capability: 75." in str(refused(REFUSED["mxfp4 on Turing"]))
    assert "Bfloat16 is only supported on GPUs with compute capability of at least 8.0" in str(
        refused(REFUSED["bfloat16 only on Turing"])
    )


def test_a_model_that_brings_its_own_code_is_refused_until_the_file_trusts_a_pinned_revision() -> None:
    catalog = load()
    model = catalog.model("phi-2")
    odd = model.model_copy(update={"config": {**model.config, "auto_map": {"AutoModelForCausalLM": "x.Y"}}})
    catalog = replace(
        catalog, models={**{n: catalog.models[n] for n in ("phi-2", "qwen2.5-1.5b-instruct")}, "phi-2": odd}
    )
    own = config(wish(model="phi-2", contextTokens=1024))
    with pytest.raises(PlanError, match="contains custom code which must be executed"):
        planned(own, catalog=catalog)
    own["models"][0] |= {"trustRemoteCode": True}
    with pytest.raises(PlanError, match="pin it with `revision:`"):
        planned(own, catalog=catalog)
    own["models"][0] |= {"revision": "a" * 40}
    assert "--trust-remote-code" in planned(own, catalog=catalog).models[0].args


@pytest.mark.long
def test_far_too_many_models_are_answered_with_the_first_that_fit() -> None:
    own = config(*(wish(name=f"m{n}", replicas=2) for n in range(16)), gpu="rtx-4060")
    error = refused(own)
    assert error.alternatives == ("only m0, with one replica each",)
    every_proposal_plans_green(own, error)


def test_a_machine_whose_processors_and_gpu_share_memory_counts_the_pods_once() -> None:
    plan = planned(config(wish(model="qwen3-8b"), gpu="dgx-spark", memoryGiB=128))
    (card,) = plan.cards
    assert card.desktop_gib >= 6.5 + 2.0 + 1.5  # one pod, the cluster, the system beside it
    assert any(d.name == "unifiedMemory" for d in plan.models[0].decisions)


# Properties

GPUS = st.sampled_from(["rtx-2060-super", "rtx-3060-12gb", "rtx-4060", "rtx-4090", "l4", "l40s"])
MODELS = st.sampled_from(
    [
        "phi-3-mini-4k-instruct-awq",
        "qwen2.5-1.5b-instruct",
        "llama-3.1-8b-instruct",
        "llama-3.1-8b-instruct-awq",
        "llama-3.2-1b-instruct",
        "qwen3-4b",
    ]
)
LENGTHS = st.sampled_from([256, 1000, 2048, 4096, 16384, 32768])
REQUESTS = st.sampled_from([1, 8, 64, 256])


def with_memory(gpu: str, more: float) -> Catalog:
    catalog = load()
    card = catalog.gpu(gpu)
    memory = {name: fact.model_copy(update={"value": fact.value + more}) for name, fact in card.memory.items()}
    return replace(catalog, gpus={**{gpu: card.model_copy(update={"memory": memory})}})


@pytest.mark.long
@QUICK
@given(gpu=GPUS, model=MODELS, length=LENGTHS, requests=REQUESTS, replicas=st.integers(1, 3), more=st.floats(0.1, 16))
@example(gpu="l4", model="llama-3.1-8b-instruct-awq", length=256, requests=1, replicas=3, more=1.0)
def test_more_memory_never_fits_less(
    gpu: str, model: str, length: int, requests: int, replicas: int, more: float
) -> None:
    wished = wish(model=model, contextTokens=length, concurrentRequests=requests, replicas=replicas)
    stack = Settings.from_config(config(wished, gpu=gpu, sharedCard=True))
    less, _ = try_plan(stack, stack="test", catalog=load())
    larger, refusals = try_plan(stack, stack="test", catalog=with_memory(gpu, more))
    if less:
        assert larger, refusals
        # a faster rung may cost a little cache
        assert larger.models[0].memory.kv_cache_gib + 0.25 >= less.models[0].memory.kv_cache_gib


@QUICK
@given(
    model=st.sampled_from(sorted(load().models)),
    a=st.integers(16, 100_000),
    b=st.integers(16, 100_000),
    requests=REQUESTS,
)
def test_a_longer_context_never_needs_less(model: str, a: int, b: int, requests: int) -> None:
    run = EngineRun(
        architecture=network(load().model(model)),
        version="0.31.0",
        max_num_batched_tokens=2048,
        max_num_seqs=requests,
        dtype="float16",
    )
    short, long = sorted((a, b))
    assert kv_needed_gib(run, max_model_len=short, requests=requests) <= kv_needed_gib(
        run, max_model_len=long, requests=requests
    )


WISHES = st.builds(
    wish, model=MODELS, contextTokens=LENGTHS, concurrentRequests=REQUESTS, replicas=st.integers(1, 3),
    kvCacheDtype=st.sampled_from(["auto", "auto", "fp8"]),
)  # fmt: skip


@pytest.mark.long
@settings(parent=QUICK, max_examples=20)
@given(gpu=GPUS, wished=st.lists(WISHES, min_size=1, max_size=3), shared=st.booleans())
def test_a_proposal_always_fits(gpu: str, wished: list[dict[str, Any]], shared: bool) -> None:
    own = config(*({**w, "name": f"m{n}"} for n, w in enumerate(wished)), gpu=gpu, sharedCard=shared)
    try:
        planned(own)
    except PlanError as error:
        assert error.proposals, error
        for proposal in error.proposals:
            planned(apply_edits(own, proposal.edits))
    else:
        assume(False)


@pytest.mark.long
def test_edits_after_a_model_was_taken_out_count_in_the_files_own_numbers() -> None:
    own = config(
        wish(name="a", model="llama-3.1-8b-instruct"), wish(name="b", model="llama-3.1-8b-instruct"), gpu="rtx-4060"
    )
    error = refused(own)
    (pair,) = [p for p in error.proposals if p.text.startswith("without a")]
    assert pair.edits[0].path == "models[0]" and pair.edits[1].path.startswith("models[1].")
    every_proposal_plans_green(own, error)


def told(engine: ModelPlan, plan: Plan, catalog: Catalog) -> EngineRun:
    """The engine as its arguments say, on a card that its neighbours are on already."""
    model = next(m for m in catalog.models.values() if m.repository == engine.weights.repository)
    card = catalog.gpu(plan.machine.gpu or "")
    memory, args = engine.memory, dict(zip(engine.args[1::2], engine.args[2::2], strict=False))
    return EngineRun(
        architecture=network(model), version=engine.engine_version, total_gib=memory.total_gib,
        capability=card.capability,
        free_gib=memory.total_gib - memory.desktop_gib - memory.context_gib - memory.neighbours_gib,
        gpu_memory_utilization=float(args["--gpu-memory-utilization"]),
        kv_cache_memory_gib=int(args["--kv-cache-memory-bytes"]) / 2**30,
        max_model_len=int(args["--max-model-len"]), max_num_seqs=int(args["--max-num-seqs"]),
        max_num_batched_tokens=int(args["--max-num-batched-tokens"]), enforce_eager="--enforce-eager" in engine.args,
        dtype="bfloat16" if args["--dtype"] == "bfloat16" else "float16", quantization=model.quantization,
        checkpoint_gib=model.weights_gib.value,
    )  # fmt: skip


@pytest.mark.long
@QUICK
@given(
    gpu=GPUS,
    model=MODELS,
    length=LENGTHS,
    requests=REQUESTS,
    objective=st.sampled_from([None, "throughput", "latency", "context", "replicas"]),
)
def test_what_is_emitted_fits_with_the_band_against_it_and_is_the_same_twice(
    gpu: str, model: str, length: int, requests: int, objective: str | None
) -> None:
    own = config(
        wish(model=model, contextTokens=length, concurrentRequests=requests),
        gpu=gpu,
        sharedCard=True,
        objective=objective,
    )
    try:
        plan = planned(own)
    except PlanError as error:
        assert str(error) == str(refused(own))
        return
    assert plan.to_json() == planned(own).to_json()
    for card in plan.cards:
        assert card.desktop_gib + sum(s.fixed_gib + s.kv_cache_gib for s in card.shares) <= card.total_gib + 0.01
    for engine in plan.models:
        assert engine.memory.kv_cache_gib >= engine.memory.kv_needed_gib - 0.001
        answer = predict(told(engine, plan, load()))
        assert answer.verdict is Verdict.FITS, answer.sentence


def test_two_hundred_models_are_planned() -> None:
    few = Settings.from_config(config(wish()))
    names = [
        "qwen2.5-1.5b-instruct",
        "llama-3.2-1b-instruct",
        "phi-3-mini-4k-instruct-awq",
        "llama-3.1-8b-instruct-awq",
    ]
    models = tuple(
        few.models[0].model_copy(update={"name": f"m{n}", "model": names[n % 4], "context_tokens": 2048})
        for n in range(200)
    )
    large = few.machine.model_copy(update={"gpus": 200, "memory_gib": 4096, "cpus": 1024})
    plan, refusals = try_plan(few.model_copy(update={"models": models, "machine": large}), stack="test", catalog=load())
    assert plan, refusals[:3]
    assert len(plan.cards) == 200
