"""Which of vLLM's images a machine's driver and card can run."""

from __future__ import annotations

from stacks.catalog import Catalog, Image
from stacks.catalog.versions import parse
from stacks.planning.engines.vllm.legality import capability

_NEWEST = "vllm-cuda"


def cuda_image(driver: str | None, card: tuple[int, int], catalog: Catalog) -> Image:
    """The newest image that runs there: vLLM's default one where driver and card are new enough for it (a driver that
    is not stated is); an older engine or CUDA where only that runs. Where none does, the default one: its refusal names
    the driver that is worth installing, or the image that the card would need.
    """
    newest = catalog.images[_NEWEST]
    have = int(driver.split(".")[0]) if driver else None
    fitting = [image for image in cuda_images(catalog) if _runs(image, have, card)]
    return max(fitting, key=lambda image: (parse(image.engine_version or "0"), _driver(image)), default=newest)


def _runs(image: Image, driver: int | None, card: tuple[int, int]) -> bool:
    least = image.minimum_compute_capability
    new_enough = driver is None or _driver(image) <= driver
    return new_enough and (least is None or capability(least.value) <= card)


def _driver(image: Image) -> int:
    return image.minimum_driver.value if image.minimum_driver else 0


def of_ones_own(image: Image, reference: str) -> Image:
    """`image` under the name of one that was made from it: `reference` has a tag, and may have a digest."""
    named, _, digest = reference.partition("@")
    repository, _, tag = named.rpartition(":")
    return image.model_copy(update={"repository": repository, "tag": tag, "digest": digest or None, "stated": True})


def cuda_images(catalog: Catalog) -> tuple[Image, ...]:
    """Every image of vLLM for NVIDIA cards."""
    return tuple(image for name, image in catalog.images.items() if name.startswith(_NEWEST))
