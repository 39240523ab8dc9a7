"""The smaller parts of the planner, each on its own."""

import pytest

from stacks.catalog import load
from stacks.errors import Edit
from stacks.planning.edits import apply_edits
from stacks.planning.engines.vllm.legality import check_quantization
from stacks.planning.engines.vllm.lifecycle import lifecycle
from stacks.planning.substitutes import substitutes

OWN = {"machine": {"gpus": 1}, "models": [{"name": "a", "pin": {"memoryLimitGiB": 4}}, {"name": "b"}, {"name": "c"}]}


def test_edits_set_add_and_take_out_and_leave_the_original_alone() -> None:
    changed = apply_edits(
        OWN,
        [
            Edit("models[0]", None), Edit("models[1]", None), Edit("models[2].replicas", 2), Edit("machine.sharedCard",
            True),
            Edit("models[2].pin.enforceEager", True), Edit("models[0].pin.memoryLimitGiB", None),
        ],
    )  # fmt: skip
    assert changed == {
        "machine": {"gpus": 1, "sharedCard": True},
        "models": [{"name": "c", "replicas": 2, "pin": {"enforceEager": True}}],
    }
    assert OWN["models"][0] == {"name": "a", "pin": {"memoryLimitGiB": 4}}


@pytest.mark.parametrize("path", ["", "models[x]", "models[0", "a..b", "a b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path of a stack file"):
        apply_edits(OWN, [Edit(path, 1)])


def test_substitutes_are_quantized_ones_of_the_family_and_then_the_next_ones_down() -> None:
    found = substitutes("llama-3.1-8b-instruct", "nvidia", load())
    assert found[0].startswith("llama-3.1-8b-instruct-")
    assert load().model(found[0]).quantization
    sizes = [load().model(name).weights_gib.value for name in found]
    assert all(size < load().model("llama-3.1-8b-instruct").weights_gib.value for size in sizes)
    assert substitutes("gemma-3-270m", "nvidia", load()) == []


@pytest.mark.parametrize("name", sorted(load().models))
def test_what_stands_in_for_a_model_is_of_the_same_use_and_lighter(name: str) -> None:
    catalog = load()
    found = substitutes(name, "nvidia", catalog)
    assert len(found) == len(set(found)) <= 6 and name not in found
    for other in found:
        assert catalog.model(other).use == catalog.model(name).use
        assert catalog.model(other).weights_gib.value < catalog.model(name).weights_gib.value


def test_a_coder_stands_in_for_a_coder_and_one_that_sees_for_one_that_sees() -> None:
    catalog = load()
    assert "qwen2.5-coder-7b-instruct-awq" in substitutes("deepseek-coder-v2-lite-instruct", "nvidia", catalog)
    assert substitutes("qwen3-vl-32b-instruct", "nvidia", catalog)[0].startswith("qwen3-vl-")
    assert substitutes("qwen3-embedding-8b", "nvidia", catalog)[0] == "qwen3-embedding-4b"
    assert "whisper-small" in substitutes("whisper-large-v3", "nvidia", catalog)


def test_every_model_of_the_catalogue_has_kernels_on_ada() -> None:
    for name, model in load().models.items():
        assert check_quantization(model.quantization, (8, 9), "0.31.0") is None, name


def test_an_engine_that_waits_its_turn_gets_the_time_of_those_before_it() -> None:
    image = load().images["vllm-cuda"]
    first, third = (lifecycle(weights_gib=2.0, download_gib=2.0, image=image, catalog=load(), before=n) for n in (0, 2))
    assert third.startup_failures == 3 * first.startup_failures
    assert third.progress_deadline_seconds > third.startup_failures * third.startup_period_seconds


def test_a_larger_download_gets_more_time() -> None:
    # 2.14 GiB at 100 Mbit/s (0.0116 GiB/s) are 184 s, with margin 277: whole minutes and five more
    image = load().images["vllm-cuda"]
    assert lifecycle(weights_gib=2.14, download_gib=2.14, image=image, catalog=load()).download_seconds == 300 + 300
