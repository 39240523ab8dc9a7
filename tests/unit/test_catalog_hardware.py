"""The cards: enough of them, within what is physically there, and each figure traceable."""

from __future__ import annotations

import pytest

from stacks.catalog import Gpu, load

GPUS = load().gpus
NVIDIA = sorted(GPUS)


def test_the_catalogue_has_every_generation_that_people_own() -> None:
    assert len(GPUS) >= 60
    for part in (
        "gtx-16",
        "rtx-20",
        "rtx-30",
        "rtx-40",
        "rtx-50",
        "-laptop",
        "t4",
        "v100",
        "a10",
        "l4",
        "l40s",
        "a100-40",
        "a100-80",
    ):
        assert any(part in name for name in GPUS), part
    for name in (
        "h100",
        "h20",
        "h200",
        "b200",
        "dgx-spark",
        "jetson-agx-orin-64gb",
        "rtx-2060-super",
        "rtx-4060",
        "l40",
    ):
        assert name in GPUS


@pytest.mark.parametrize("name", NVIDIA)
def test_torch_never_sees_more_than_the_box_says(name: str) -> None:
    gpu = GPUS[name]
    for platform, total in gpu.memory.items():
        assert 0.85 * gpu.nominal_gib.value <= total.value <= gpu.nominal_gib.value, platform
    assert gpu.memory["linux"].value < gpu.nominal_gib.value


@pytest.mark.parametrize("name", NVIDIA)
def test_a_card_is_one_that_vllm_may_run_on_and_its_figures_are_of_this_world(name: str) -> None:
    gpu = GPUS[name]
    assert (7, 0) <= gpu.capability <= (12, 1)
    assert 100 <= gpu.bandwidth_gbs.value <= 8000
    assert 5 <= gpu.tensor_tflops.value <= 2300
    assert 20 <= gpu.power_w.value <= 1000


@pytest.mark.parametrize("name", NVIDIA)
def test_every_figure_of_a_card_says_where_it_comes_from(name: str) -> None:
    gpu = GPUS[name]
    for fact in (
        gpu.compute_capability,
        gpu.nominal_gib,
        gpu.bandwidth_gbs,
        gpu.tensor_tflops,
        gpu.power_w,
        *gpu.memory.values(),
    ):
        assert len(fact.source) > 10
    for total in gpu.memory.values():  # measured by someone, or said to be derived
        assert any(
            word in total.source for word in ("log", "torch", "nominal x", "deviceQuery", "less 1 %", "lowest")
        ), total.source


def test_consumer_cards_have_a_figure_for_wsl2_and_cards_of_servers_have_none() -> None:
    for name, gpu in GPUS.items():
        assert ("wsl2" in gpu.memory) == ("GeForce" in gpu.name), name


def test_unified_memory_is_flagged_where_the_processor_shares_it() -> None:
    assert {n for n, g in GPUS.items() if g.unified_memory} == {
        "dgx-spark", "jetson-agx-orin-32gb", "jetson-agx-orin-64gb", "jetson-orin-nano-8gb", "jetson-thor",
    }  # fmt: skip


def test_cards_of_the_same_chip_size_and_platform_do_not_disagree_by_more_than_two_percent() -> None:
    for nominal in (8, 12, 16):
        totals = [
            g.memory["linux"].value for g in GPUS.values() if g.nominal_gib.value == nominal and "GeForce" in g.name
        ]
        assert max(totals) / min(totals) < 1.02


def test_a_card_round_trips_through_json() -> None:
    for gpu in GPUS.values():
        assert Gpu.model_validate_json(gpu.model_dump_json(by_alias=True)) == gpu
