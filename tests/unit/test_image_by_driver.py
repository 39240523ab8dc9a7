"""Which image a driver gets, and the whole plan that follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stacks.catalog import load
from stacks.errors import PlanError
from stacks.planning.engines.vllm.images import cuda_image, cuda_images
from stacks.planning.engines.vllm.legality import last_image
from tests.unit.test_refusals import planned


@pytest.mark.parametrize(
    ("driver", "tag"),
    [
        (None, "v0.31.0"),
        ("581.29", "v0.31.0"),
        ("580", "v0.31.0"),
        ("579.99", "v0.31.0-cu129"),
        ("575.57.08", "v0.31.0-cu129"),
        ("550.54", "v0.31.0"),  # its refusal names the driver that is worth installing
        ("520.61", "v0.31.0"),
    ],
)
def test_the_image_that_a_driver_runs(driver: str | None, tag: str) -> None:
    assert cuda_image(driver, (8, 9), load()).tag == tag


def test_images_for_cards_differ_in_cuda_only() -> None:
    images = cuda_images(load())
    assert len(images) == 2 and len({image.engine_version for image in images}) == 1
    assert sorted(i.minimum_driver.value for i in images if i.minimum_driver) == [575, 580]


def test_a_plan_for_an_older_driver_has_its_image_and_lets_the_machine_have_that_driver() -> None:
    plan = planned({"gpu": "rtx-4090", "nvidiaDriver": "575.57.08"}, model="qwen2.5-1.5b-instruct")
    assert plan.models[0].image.partition("@")[0] == "docker.io/vllm/vllm-openai:v0.31.0-cu129"
    assert plan.nvidia is not None and plan.nvidia.host is not None and plan.nvidia.host.least_driver == 575
    newer = planned({"gpu": "rtx-4090", "nvidiaDriver": "580.65.06"}, model="qwen2.5-1.5b-instruct")
    assert newer.nvidia is not None and newer.nvidia.host is not None and newer.nvidia.host.least_driver == 580


@pytest.mark.parametrize("driver", ["520.61", "550.54", "574.1"])
def test_a_driver_that_no_image_runs_on_is_refused(driver: str) -> None:
    with pytest.raises(PlanError, match="needs driver 580 or newer"):
        planned({"gpu": "rtx-4090", "nvidiaDriver": driver}, model="qwen2.5-1.5b-instruct")


def test_a_card_before_turing_is_refused_whatever_its_driver() -> None:
    old = [name for name, gpu in load().gpus.items() if gpu.capability < (7, 5)]
    for name in old[:3]:
        with pytest.raises(PlanError, match="compute capability") as refused:
            planned({"gpu": name, "nvidiaDriver": "580.65"}, model="qwen2.5-1.5b-instruct")
        assert "the newest image that runs on compute capability 7.0 is docker.io/vllm/vllm-openai:v0.8.5" in str(
            refused.value
        )
        assert "docker run --gpus all" in str(refused.value)
    assert old


def test_an_older_engine_is_chosen_for_a_card_that_the_newest_has_no_kernels_for() -> None:
    catalog = load()
    newest = catalog.images["vllm-cuda"]
    least = newest.minimum_compute_capability
    assert least is not None and newest.minimum_driver is not None
    changed = {"tag": "v0.12.0", "engine_version": "0.12.0"}
    changed |= {"minimum_compute_capability": least.model_copy(update={"value": "7.0"})}
    older = newest.model_copy(
        update=changed | {"minimum_driver": newest.minimum_driver.model_copy(update={"value": 570})}
    )
    both = replace(catalog, images={**catalog.images, "vllm-cuda-volta": older})
    assert cuda_image(None, (7, 0), both).tag == "v0.12.0"
    assert cuda_image("580.65", (7, 5), both).tag == newest.tag  # and no older one where a newer runs
    assert cuda_image("571.96", (8, 9), both).tag == "v0.12.0"
    assert cuda_image("571.96", (6, 1), both).tag == newest.tag  # refused by name


@pytest.mark.parametrize(("card", "said"), [((7, 0), "v0.8.5"), ((6, 1), "no image of vLLM ever ran"), ((7, 5), "")])
def test_what_is_left_for_an_older_card(card: tuple[int, int], said: str) -> None:
    found = last_image(card)
    assert (said in found) if said else found == ""
