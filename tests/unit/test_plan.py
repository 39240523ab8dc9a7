"""Plans: what is derived, what is refused, and that the way out really works."""

import json
import re
from typing import Any

import pytest

from host.system.machine import detected
from stacks.catalog import load
from stacks.errors import CatalogError, PlanError
from stacks.plan import DockerPlan, Plan
from stacks.planning.build import build_plan
from stacks.planning.edits import apply_edits
from stacks.planning.engines.vllm.flags import unknown_flags
from stacks.settings import Settings
from tests.support.stacks import STACKS, configuration, plan


def _refused(stack: str, edit: Any) -> PlanError:
    with pytest.raises(PlanError) as caught:
        plan(stack, edit)
    return caught.value


def _model(**changes: Any) -> Any:
    def edit(own: dict[str, Any]) -> None:
        own["models"][0] |= changes

    return edit


@pytest.mark.parametrize("stack", STACKS)
def test_a_plan_survives_json_both_ways(stack: str) -> None:
    made = plan(stack)
    again = Plan.from_json(made.to_json())
    assert again == made
    assert again.digest == made.digest
    assert again.to_json() == made.to_json()


def test_a_plan_whose_digest_does_not_fit_is_no_plan() -> None:
    document = json.loads(plan("dev").to_json())
    document["digest"] = "0" * 12
    with pytest.raises(ValueError, match="digest"):
        Plan.from_json(json.dumps(document))


@pytest.mark.parametrize("stack", STACKS)
def test_the_same_settings_give_the_same_plan_byte_for_byte(stack: str) -> None:
    assert plan(stack).to_json() == plan(stack).to_json()


@pytest.mark.parametrize("stack", STACKS)
def test_every_decision_names_its_source_and_reason(stack: str) -> None:
    for decision in plan(stack).all_decisions():
        assert decision.source and decision.reason, decision.name


@pytest.mark.parametrize("stack", STACKS)
def test_every_flag_exists_in_the_engine_version_of_the_image(stack: str) -> None:
    for model in plan(stack).models:
        assert unknown_flags(model.args, model.engine_version, load()) == []


def test_a_flag_newer_than_the_engine_is_found() -> None:
    assert unknown_flags(("--shutdown-timeout", "30", "--no-such"), "0.11.0", load()) == [
        "--shutdown-timeout",
        "--no-such",
    ]


@pytest.mark.parametrize("stack", STACKS)
def test_waiting_is_ordered_from_the_probe_to_the_resource(stack: str) -> None:
    for model in plan(stack).models:
        life = model.lifecycle
        assert (
            life.startup_period_seconds * life.startup_failures < life.progress_deadline_seconds < life.timeout_seconds
        )
        assert life.termination_grace_seconds > life.pre_stop_seconds + life.drain_seconds


def test_the_digest_changes_with_what_runs_and_not_with_words() -> None:
    made = plan("rtx2060")
    reworded = made.model_copy(update={"decisions": (), "host_changes": ()})
    assert reworded.digest == made.digest
    assert plan("rtx2060", _model(environment={"LOG": "1"})).digest != made.digest
    assert plan("rtx2060", _model(contextTokens=2048)).digest != made.digest


def test_an_8_gb_turing_card_under_wsl2_is_derived_as_by_hand() -> None:
    model = plan("rtx2060").models[0]
    args = dict(zip(model.args[1::2], model.args[2::2], strict=True))
    memory = model.memory
    assert args["--dtype"] == "float16"
    assert args["--max-model-len"] == "4096"
    assert args["--max-num-seqs"] == "8"
    parts = (
        memory.weights_gib
        + memory.activation_gib
        + memory.non_torch_gib
        + memory.cuda_graphs_gib
        + memory.serving_peak_gib
        + memory.error_band_gib
    )
    # 0.93 + 0.023 x 8.00 GiB are taken before the engine looks, its own context among it
    assert memory.desktop_gib == pytest.approx(0.93 + 0.023 * 8.0 - 0.25, abs=0.001)
    assert memory.kv_cache_gib == pytest.approx(8.0 - memory.desktop_gib - memory.context_gib - parts, abs=0.01)
    assert (
        args["--kv-cache-memory-bytes"]
        == str(model.engine.kv_cache_memory_bytes)
        == str(round(memory.kv_cache_gib * 1024) * 2**20)
    )
    held = (memory.kv_cache_gib + parts - memory.error_band_gib) / 8.0
    assert held - 0.02 <= float(args["--gpu-memory-utilization"]) <= held  # what must be free at start, in hundredths
    assert memory.kv_needed_gib == pytest.approx(257 * 16 * 393216 / 2**30, abs=0.001)
    assert model.environment["VLLM_WSL2_ENABLE_PIN_MEMORY"] == "1"


def test_the_same_card_without_a_desktop_on_linux_keeps_more_for_the_cache() -> None:
    def headless(own: dict[str, Any]) -> None:
        own["machine"] |= {"platform": "linux"}
        del own["machine"]["wslMemoryGiB"]

    assert plan("rtx2060", headless).models[0].memory.kv_cache_gib > plan("rtx2060").models[0].memory.kv_cache_gib


def test_a_desktop_takes_its_share_on_linux_too() -> None:
    def desktop(own: dict[str, Any]) -> None:
        own["machine"] = {"kind": "nvidia", "gpu": "rtx-4060", "display": True, "memoryGiB": 32, "cpus": 8}
        own["models"][0] |= {"contextTokens": 2048}

    assert plan("rtx2060", desktop).models[0].memory.desktop_gib == 0.8


def test_too_long_a_context_at_a_pinned_utilization_is_refused_in_vllms_words() -> None:
    # The seed's 0.40 at 2048 tokens: 0.76 GiB needed, 0.72 available. Newer engines count CUDA graphs in the budget and
    # leave even less.
    error = _refused("rtx2060", _model(contextTokens=2048, concurrentRequests=256, pin={"gpuMemoryUtilization": 0.40}))
    assert re.search(
        r"phi-3-mini: one request of 2048 tokens needs 0\.76 GiB of KV cache, and 0\.[0-6]\d GiB are available",
        str(error),
    )
    assert "0.40 x 8.00 GiB = 3.20 GiB budget - " in str(error)
    assert "To serve at least one request" in str(error)


def test_a_call_that_is_too_close_is_refused_and_says_by_how_much() -> None:
    error = _refused("rtx2060", _model(contextTokens=2048, concurrentRequests=256, pin={"gpuMemoryUtilization": 0.45}))
    assert re.search(r"too close to call: the margin is [+-]\d\.\d\d GiB and the error band \d\.\d\d GiB", str(error))


def test_a_utilization_that_leaves_nothing_for_the_cache_is_refused() -> None:
    error = _refused("rtx2060", _model(contextTokens=2048, concurrentRequests=256, pin={"gpuMemoryUtilization": 0.25}))
    assert re.search(r"-0\.\d\d GiB (are available|for the KV cache)", str(error))


def test_two_engines_at_0_30_on_one_8_gb_card_are_refused() -> None:
    error = _refused("rtx2060", _model(contextTokens=1024, replicas=2, pin={"gpuMemoryUtilization": 0.30}))
    assert "want 2 GPUs, one each, and the machine has 1" in str(error)
    assert "0.30 x 8.00 GiB = 2.40 GiB budget" in str(error)
    assert "No available memory for the cache blocks" in str(error)


def test_a_4_gib_limit_that_loading_outgrows_is_refused_as_oom_killed() -> None:
    error = _refused("rtx2060", _model(pin={"memoryLimitGiB": 4}))
    assert "pin.memoryLimitGiB is 4, and loading takes 6.50 GiB" in str(error)
    assert "OOMKilled" in str(error)


def test_more_ram_than_wsl2_has_is_refused_with_the_line_for_wslconfig() -> None:
    def default_wsl(own: dict[str, Any]) -> None:
        del own["machine"]["wslMemoryGiB"]

    error = _refused("rtx2060", default_wsl)
    assert "the node has 4.00 GiB for pods (Linux has 8.00 GiB)" in str(error)
    assert "machine.wslMemoryGiB: 11 (and memory=11GB in .wslconfig)" in error.alternatives


def test_a_utilization_beside_a_desktop_that_vllms_start_check_refuses_is_refused_here() -> None:
    error = _refused("rtx2060", _model(pin={"gpuMemoryUtilization": 0.90}))
    assert "0.90 x 8.00 GiB = 7.20 GiB, and 6.89 GiB are free" in str(error)


def test_a_context_beyond_the_models_training_is_refused() -> None:
    error = _refused("rtx2060", _model(contextTokens=8192))
    assert "max_position_embeddings" in str(error)
    assert "models[0].contextTokens: 4096" in error.alternatives


@pytest.mark.long
def test_a_bfloat16_only_model_on_turing_is_refused() -> None:
    error = _refused("rtx2060", _model(model="gemma-3-270m"))
    assert "compute capability of at least 8.0" in str(error)


@pytest.mark.long
def test_a_full_disk_is_refused_before_anything_is_pulled() -> None:
    def small(own: dict[str, Any]) -> None:
        own["machine"]["diskFreeGiB"] = 40

    assert "no space left on device" in str(_refused("rtx2060", small))


def test_an_old_driver_is_refused() -> None:
    def old(own: dict[str, Any]) -> None:
        own["machine"]["nvidiaDriver"] = "551.86"

    assert "needs driver 580 or newer" in str(_refused("rtx2060", old))


def test_more_engines_than_processors_are_refused() -> None:
    assert "a pod would stay Pending" in str(_refused("dev", _model(replicas=2)))


def test_a_quantized_model_on_the_cpu_is_refused() -> None:
    assert "quantized with awq" in str(_refused("dev", _model(model="phi-3-mini-4k-instruct-awq")))


def test_all_refusals_come_at_once() -> None:
    error = _refused("rtx2060", _model(contextTokens=8192, replicas=3, pin={"memoryLimitGiB": 4}))
    assert len(error.refusals) >= 4


REFUSED = {
    "context": ("rtx2060", {"contextTokens": 2048, "concurrentRequests": 256, "pin": {"gpuMemoryUtilization": 0.45}}),
    "training": ("rtx2060", {"contextTokens": 8192}),
    "desktop": ("rtx2060", {"pin": {"gpuMemoryUtilization": 0.90}}),
    "replicas": ("rtx2060", {"replicas": 2}),
    "limit": ("rtx2060", {"pin": {"memoryLimitGiB": 4}}),
    "both": ("rtx2060", {"replicas": 2, "pin": {"memoryLimitGiB": 4}}),
    "cpus": ("dev", {"replicas": 2}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_refusal_offers_plans_green(case: str) -> None:
    stack, changes = REFUSED[case]
    error = _refused(stack, _model(**changes))
    assert error.alternatives
    for proposal in error.proposals:
        own = apply_edits(configuration(stack, _model(**changes)), proposal.edits)
        build_plan(Settings.from_config(own, detected=detected()), stack=stack)


def test_unknown_hardware_and_models_are_named_together() -> None:
    def edit(own: dict[str, Any]) -> None:
        own["machine"]["gpu"] = "rtx-9999"
        own["models"][0]["model"] = "phi-3-mini"

    with pytest.raises(CatalogError) as caught:
        plan("rtx2060", edit)
    assert "machine.gpu: the catalogue knows no GPU called rtx-9999" in str(caught.value)
    assert "did you mean phi-3-mini-4k-instruct or phi-3-mini-4k-instruct-awq?" in str(caught.value)


def test_giving_hardening_up_is_a_recorded_decision() -> None:
    def edit(own: dict[str, Any]) -> None:
        own["security"] = {"readOnlyRootFilesystem": False}

    made = plan("rtx2060", edit)
    assert not made.models[0].read_only_root_filesystem
    assert [d.kind for d in made.models[0].decisions if d.name == "readOnlyRootFilesystem"] == ["degraded"]


def test_the_cluster_command_says_every_flag_that_only_acts_at_creation() -> None:
    cluster = plan("rtx2060").cluster
    assert cluster.driver == "minikube"
    for flag in (
        "--driver=docker",
        "--container-runtime=docker",
        "--gpus=all",
        "--ports=127.0.0.1:30080-30095:30080-30095",
        "--memory=10240",
        "--cni=calico",
    ):
        assert flag in cluster.start


# Free GiB at the engine's start on a headless card: lowest total seen less driver reserve and the upper end of the
# context's range.
FREE_AT_START = {"rtx-3090": 22.76, "rtx-4090": 22.7, "rtx-5090": 30.46, "l4": 21.16, "l40s": 43.62}


@pytest.mark.parametrize("gpu", FREE_AT_START)
def test_what_a_headless_card_must_have_free_at_start_it_has(gpu: str) -> None:
    def headless(own: dict[str, Any]) -> None:
        own["machine"] = {"kind": "nvidia", "gpu": gpu, "memoryGiB": 64, "cpus": 16}

    model = plan("rtx2060", headless).models[0]
    share = float(model.args[model.args.index("--gpu-memory-utilization") + 1])
    assert share * model.memory.total_gib <= FREE_AT_START[gpu]
    assert model.memory.budget_gib - model.memory.error_band_gib <= FREE_AT_START[gpu]


def test_more_requests_than_batched_tokens_raise_the_batch() -> None:
    def many(own: dict[str, Any]) -> None:
        own["machine"] = {"kind": "nvidia", "gpu": "rtx-4090", "memoryGiB": 64, "cpus": 16}
        own["models"][0] |= {"concurrentRequests": 4096}

    args = plan("rtx2060", many).models[0].args
    assert args[args.index("--max-num-batched-tokens") + 1] == "4096"


def test_a_larger_model_on_the_cpu_gets_a_larger_limit() -> None:
    small, large = (plan("dev", _model(model=m)).models[0].resources for m in ("gemma-3-270m", "qwen2.5-1.5b-instruct"))
    assert small.memory_limit_mib == 7168  # 6144 was refused by vLLM on a cold page cache
    assert large.memory_limit_mib >= 8192


def test_a_base_model_is_refused_where_it_would_have_no_chat_template() -> None:
    assert "base model without a chat template" in str(_refused("rtx2060", _model(model="gemma-3-270m")))


def test_consent_given_in_the_file_is_a_decision_that_reviewers_see() -> None:
    def allow(own: dict[str, Any]) -> None:
        own["hostChanges"] = "allow"

    made = plan("dev", allow)
    assert made.consent == "allow"
    assert [d.kind for d in made.decisions if d.name == "hostChanges"] == ["degraded"]


def test_minikube_under_wsl2_uses_the_release_whose_toolkit_finds_the_gpu() -> None:
    cluster = plan("rtx2060").cluster
    assert cluster.driver == "minikube"
    assert cluster.version == "1.37.0"
    assert any(a.startswith("--base-image=gcr.io/k8s-minikube/kicbase:v0.0.48@sha256:") for a in cluster.start)


@pytest.mark.parametrize("stack", STACKS)
def test_every_flag_and_resource_has_a_decision(stack: str) -> None:
    names_of = {
        "--dtype": "dtype", "--max-model-len": "maxModelLen", "--max-num-seqs": "maxNumSeqs",
        "--max-num-batched-tokens": "maxNumBatchedTokens",
        "--shutdown-timeout": "shutdown", "--gpu-memory-utilization": "gpuMemoryUtilization",
        "--enforce-eager": "enforceEager",
        "--kv-cache-memory-bytes": "kvCacheMemoryBytes", "--kv-cache-dtype": "kvCacheDtype",
        "--trust-remote-code": "trustRemoteCode",
    }  # fmt: skip
    plumbing = {"--served-model-name", "--host", "--port"}
    for model in plan(stack).models:
        decided = {d.name for d in model.decisions}
        flags = {a for a in model.args if a.startswith("--")} - plumbing
        assert {names_of[f] for f in flags} <= decided
        assert {
            "image",
            "revision",
            "memoryLimit",
            "memoryRequest",
            "cpu",
            "scratch",
            "sharedMemory",
            "startup",
            "environment",
        } <= decided


def test_another_cache_folder_is_another_volume() -> None:
    def moved(own: dict[str, Any]) -> None:
        own["modelCache"] = {"path": "/srv/models"}

    assert plan("dev", moved).model_cache.name != plan("dev").model_cache.name


def test_what_only_kubernetes_has_is_in_its_slice_alone() -> None:
    docker = DockerPlan(name="local-ai-lab-box", address="127.0.0.1", pids_limit=100)
    made = plan("dev").model_copy(update={"cluster": docker})
    assert (plan("dev").target, made.target) == ("kubernetes", "docker")
    assert Plan.from_json(made.to_json()).cluster == docker
    with pytest.raises(TypeError, match="without Kubernetes"):
        _ = made.kubernetes
